/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A foreign tree keeps every path inside it; files are read within bounds and replaced whole. */

#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "scratch.h"
#include "tap.h"

static unsigned count_entries(const struct scratch *scratch, const char *path) {
        char full[PATH_MAX];
        struct dirent *entry;
        unsigned n = 0;
        DIR *stream;

        scratch_path(scratch, path, full);
        stream = opendir(full);
        while (stream && (entry = readdir(stream)))
                n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        if (stream)
                (void) closedir(stream);
        return n;
}

static mode_t mode_of(const struct scratch *scratch, const char *path) {
        char full[PATH_MAX];
        struct stat st = { 0 };

        scratch_path(scratch, path, full);
        return lstat(full, &st) < 0 ? 0 : st.st_mode & 07777;
}

TEST(the_host_tree_has_no_root) {
        struct tree *tree = NULL;
        char *path = NULL;

        expect_int(tree_open(NULL, &tree), 0);
        expect(!tree->root);
        expect_int(tree_full_path(tree, "/etc/x", &path), 0);
        expect_string(path, "/etc/x");
        free(path);
        tree_free(tree);

        expect_int(tree_open("//", &tree), 0);
        expect(!tree->root);
        tree_free(tree);
        tree_free(NULL);
}

TEST(a_missing_or_odd_root_is_refused) {
        struct tree *tree = NULL;

        expect_int(tree_open("/nonexistent/tree", &tree), -ENOENT);
        expect_int(tree_open("/etc/passwd", &tree), -ENOTDIR);
        expect_int(tree_open("", &tree), -ENOENT);
        expect(!tree);
}

TEST(full_paths_begin_with_the_root) {
        struct scratch scratch;
        struct tree *tree = NULL;
        char with_slash[PATH_MAX + 2], *path = NULL;

        scratch_begin(&scratch);
        (void) snprintf(with_slash, sizeof(with_slash), "%s//", scratch.root);
        expect_int(tree_open(with_slash, &tree), 0);
        expect_int(tree_full_path(tree, "/etc/x", &path), 0);
        expect_int(strncmp(path, scratch.root, strlen(scratch.root)), 0);
        expect_string(path + strlen(scratch.root), "/etc/x");
        free(path);
        tree_free(tree);
        scratch_end(&scratch);
}

TEST(links_do_not_lead_out_of_a_foreign_tree) {
        struct scratch scratch;
        char *data = NULL;
        size_t size;
        int fd;

        scratch_begin(&scratch);
        scratch_write(&scratch, "etc/inside", "inside");
        scratch_link(&scratch, "/etc/passwd", "passwd");
        scratch_link(&scratch, "../../../../../../etc/inside", "dots");
        scratch_link(&scratch, "/", "all");
        scratch_link(&scratch, "/proc/self/root", "magic");

        expect_int(tree_open_path(scratch.tree, "/passwd", O_RDONLY, 0),
                        -ENOENT); /* the tree's own /etc/passwd */
        expect_int(tree_open_path(scratch.tree, "/magic/etc/passwd", O_RDONLY, 0), -ENOENT);
        expect_int(tree_open_path(scratch.tree, "/../../../etc/passwd", O_RDONLY, 0), -ENOENT);

        fd = tree_open_path(scratch.tree, "/dots", O_RDONLY, 0);
        expect(fd >= 0);
        (void) close(fd);
        expect_int(tree_read_file(scratch.tree, "/all/all/etc/inside", 100, &data, &size), 0);
        expect_string(data, "inside");
        free(data);
        scratch_end(&scratch);
}

TEST(descriptors_are_closed_on_exec) {
        struct scratch scratch;
        int fd;

        scratch_begin(&scratch);
        fd = tree_open_path(scratch.tree, "/new", O_WRONLY | O_CREAT, 0640);
        expect(fd >= 0);
        expect_int(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        (void) close(fd);
        fd = tree_open_path(scratch.tree, "/", O_PATH | O_DIRECTORY, 0);
        expect(fd >= 0);
        (void) close(fd);
        scratch_end(&scratch);
}

TEST(files_are_read_up_to_their_bound) {
        struct scratch scratch;
        char *data = NULL, large[8193];
        size_t size = 0;

        memset(large, 'x', sizeof(large));
        scratch_begin(&scratch);
        scratch_write_bytes(&scratch, "large", large, sizeof(large), 0600);
        scratch_write_bytes(&scratch, "empty", "", 0, 0600);
        scratch_write_bytes(&scratch, "nul", "a\0b", 3, 0600);
        scratch_link(&scratch, "large", "link");

        expect_int(tree_read_file(scratch.tree, "/large", 8192, &data, &size), -EFBIG);
        expect(!data);
        expect_int(tree_read_file(scratch.tree, "/large", 8193, &data, &size), 0);
        expect_int(size, 8193);
        expect(memcmp(data, large, 8193) == 0 && data[8193] == '\0');
        free(data);

        expect_int(tree_read_file(scratch.tree, "/empty", 10, &data, &size), 0);
        expect_int(size, 0);
        expect_string(data, "");
        free(data);

        expect_int(tree_read_file(scratch.tree, "/nul", 10, &data, NULL), 0);
        expect(memcmp(data, "a\0b", 4) == 0);
        free(data);

        expect_int(tree_read_file(scratch.tree, "/link", 10000, &data, &size), -ELOOP);
        expect_int(tree_read_file(scratch.tree, "/missing", 10000, &data, &size), -ENOENT);
        expect_int(tree_read_file(scratch.tree, "/", 10000, &data, &size), -EISDIR);
        scratch_end(&scratch);
}

TEST(a_file_without_a_size_is_read_to_its_end) {
        struct tree *host = NULL;
        char *data = NULL;
        size_t size = 0;

        expect_int(tree_open(NULL, &host), 0);
        expect_int(tree_read_file(host, "/proc/self/maps", 1024 * 1024, &data, &size), 0);
        expect(size > 0 && strlen(data) == size);
        free(data);
        data = NULL;
        expect_int(tree_read_file(host, "/proc/self/maps", 10, &data, &size), -EFBIG);
        tree_free(host);
}

TEST(reading_a_fifo_does_not_wait) {
        struct scratch scratch;
        char full[PATH_MAX], *data = NULL;
        size_t size;

        scratch_begin(&scratch);
        scratch_path(&scratch, "fifo", full);
        expect_int(mkfifo(full, 0600), 0);
        expect_int(tree_read_file(scratch.tree, "/fifo", 10, &data, &size), -EINVAL);
        scratch_end(&scratch);
}

TEST(directories_are_made_with_their_parents_whatever_the_umask) {
        struct scratch scratch;
        mode_t mask = umask(0077);
        int fd;

        scratch_begin(&scratch);
        fd = tree_make_directory(scratch.tree, "/var/lib/keyrota//", 0700);
        expect(fd >= 0);
        (void) close(fd);
        expect_int(mode_of(&scratch, "var"), 0755);
        expect_int(mode_of(&scratch, "var/lib"), 0755);
        expect_int(mode_of(&scratch, "var/lib/keyrota"), 0700);

        fd = tree_make_directory(scratch.tree, "/var/lib/keyrota", 0750);
        expect(fd >= 0);
        (void) close(fd);
        expect_int(mode_of(&scratch, "var/lib/keyrota"), 0750);
        (void) umask(mask);

        scratch_write(&scratch, "file", "");
        expect_int(tree_make_directory(scratch.tree, "/file/x", 0700), -ENOTDIR);
        expect_int(tree_make_directory(scratch.tree, "/file", 0700), -ENOTDIR);
        expect_int(tree_make_directory(scratch.tree, "/", 0700), -EINVAL);
        expect_int(tree_make_directory(scratch.tree, "relative", 0700), -EINVAL);
        scratch_link(&scratch, "/nowhere", "dangling");
        expect_int(tree_make_directory(scratch.tree, "/dangling", 0700), -ENOENT);
        scratch_end(&scratch);
}

TEST(directories_are_made_inside_the_tree_through_links) {
        struct scratch scratch;
        int fd;

        scratch_begin(&scratch);
        fd = tree_make_directory(scratch.tree, "/srv/state", 0755);
        expect(fd >= 0);
        (void) close(fd);
        scratch_link(&scratch, "/srv/state", "var/lib");
        fd = tree_make_directory(scratch.tree, "/var/lib/keyrota", 0700);
        expect(fd >= 0);
        (void) close(fd);
        expect_int(mode_of(&scratch, "srv/state/keyrota"), 0700);
        scratch_end(&scratch);
}

TEST(files_are_replaced_whole_and_leave_nothing_beside_them) {
        struct scratch scratch;
        char *data = NULL;
        size_t size;

        scratch_begin(&scratch);
        scratch_write(&scratch, "dir/file", "old and longer");
        expect_int(tree_replace_file(scratch.tree, "/dir/file", "new", 3, 0640, true), 0);
        expect_int(tree_read_file(scratch.tree, "/dir/file", 100, &data, &size), 0);
        expect_string(data, "new");
        free(data);
        expect_int(mode_of(&scratch, "dir/file"), 0640);
        expect_int(count_entries(&scratch, "dir"), 1);

        expect_int(tree_replace_file(scratch.tree, "/dir/other", "", 0, 0600, false), 0);
        expect_int(mode_of(&scratch, "dir/other"), 0600);
        expect_int(tree_replace_file(scratch.tree, "/missing/file", "x", 1, 0600, false), -ENOENT);
        expect_int(tree_replace_file(scratch.tree, "/dir/", "x", 1, 0600, false), -EINVAL);
        scratch_end(&scratch);
}

TEST(a_failed_replacement_leaves_the_old_and_no_temporary_file) {
        struct scratch scratch;
        char full[PATH_MAX];

        scratch_begin(&scratch);
        scratch_path(&scratch, "file", full);
        expect_int(mkdir(full, 0755), 0); /* what cannot be replaced by a file */
        expect_int(tree_replace_file(scratch.tree, "/file", "x", 1, 0600, true), -EISDIR);
        expect_int(count_entries(&scratch, ""), 1);
        scratch_end(&scratch);
}

TEST(a_file_that_holds_the_same_is_left_alone) {
        struct scratch scratch;
        char full[PATH_MAX];
        struct stat before, after;

        scratch_begin(&scratch);
        scratch_path(&scratch, "file", full);
        expect_int(tree_update_file(scratch.tree, "/file", "text", 4, 0600, false), 1);
        expect_int(stat(full, &before), 0);
        expect_int(tree_update_file(scratch.tree, "/file", "text", 4, 0600, false), 0);
        expect_int(stat(full, &after), 0);
        expect(before.st_ino == after.st_ino);
        expect_int(chmod(full, 0644), 0);
        expect_int(tree_update_file(scratch.tree, "/file", "text", 4, 0600, false), 1);
        expect_int(tree_update_file(scratch.tree, "/file", "text", 4, 0600, false), 0);
        expect_int(tree_update_file(scratch.tree, "/file", "tex", 3, 0600, false), 1);
        expect_int(tree_update_file(scratch.tree, "/file", "tex\0", 4, 0600, false), 1);
        expect_int(tree_update_file(scratch.tree, "/missing/file", "", 0, 0600, false), -ENOENT);
        scratch_end(&scratch);
}

TEST(a_link_is_replaced_and_not_followed) {
        struct scratch scratch;
        char *data = NULL;
        size_t size;

        scratch_begin(&scratch);
        scratch_write(&scratch, "target", "target");
        scratch_link(&scratch, "target", "link");
        expect_int(tree_replace_file(scratch.tree, "/link", "new", 3, 0644, false), 0);
        expect_int(tree_read_file(scratch.tree, "/target", 100, &data, &size), 0);
        expect_string(data, "target");
        free(data);
        expect_int(tree_read_file(scratch.tree, "/link", 100, &data, &size), 0);
        expect_string(data, "new");
        free(data);
        scratch_end(&scratch);
}

TEST(links_in_a_circle_and_long_ways_come_to_an_end) {
        struct scratch scratch;
        char *data = NULL;
        size_t size;
        int fd;

        scratch_begin(&scratch);
        scratch_link(&scratch, "b", "a");
        scratch_link(&scratch, "/a", "b");
        scratch_link(&scratch, "self/x", "self");
        scratch_write(&scratch, "d/e/file", "text");
        scratch_link(&scratch, "/d/../../d/./e//", "way");
        expect_int(tree_open_path(scratch.tree, "/a", O_RDONLY, 0), -ELOOP);
        expect_int(tree_open_path(scratch.tree, "/self/y", O_RDONLY, 0), -ELOOP);
        expect_int(tree_read_file(scratch.tree, "/way/../e/./file", 10, &data, &size), 0);
        expect_string(data, "text");
        free(data);
        expect_int(tree_open_path(scratch.tree, "/d/e/file/", O_RDONLY, 0), -ENOTDIR);
        expect_int(tree_open_path(scratch.tree, "/d/e/file/x", O_RDONLY, 0), -ENOTDIR);
        expect_int(tree_open_path(scratch.tree, "/d/x/..", O_RDONLY, 0), -ENOENT);
        expect_int(tree_open_path(scratch.tree, "", O_RDONLY, 0), -ENOENT);
        expect_int(tree_open_path(scratch.tree, "/way", O_RDONLY | O_NOFOLLOW, 0), -ELOOP);
        fd = tree_open_path(scratch.tree, "/way/", O_RDONLY | O_DIRECTORY, 0);
        expect(fd >= 0);
        (void) close(fd);
        scratch_end(&scratch);
}

/* From now on openat2(2) is a call that this process's kernel does not know. */
static bool forget_openat2(void) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 &&
                        syscall(SYS_openat2, -1, "", NULL, 0) < 0 && errno == ENOSYS;
}

static bool is_child;

/* All of the above in a process of its own. */
TEST(without_openat2_it_is_all_the_same) {
        int status;
        pid_t pid;

        if (is_child)
                skip("already without");
        pid = fork();
        expect(pid >= 0);
        if (pid == 0) {
                is_child = true;
                if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0) /* its own TAP is none of ours */
                        _exit(EXIT_FAILURE);
                _exit(forget_openat2() ? tap_main() : 77);
        }
        expect(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                skip("no seccomp filters here");
        expect_int(WEXITSTATUS(status), 0);
}

int main(void) {
        return tap_main();
}
