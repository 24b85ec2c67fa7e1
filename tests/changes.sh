# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a run of keyrota asks the kernel to change, as strace sees it. For scripts that have sourced scratch.sh.

# Every call that changes a file, a folder, a file system, a kernel key or what another process has; and those that open for writing.
CHANGING='write,pwrite64,writev,pwritev,pwritev2,sendfile,splice,copy_file_range,fallocate,truncate,ftruncate,fsync,fdatasync,sync,syncfs,sync_file_range,msync'
CHANGING+=',rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat,open,openat,openat2,creat'
CHANGING+=',chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utime,utimes,futimesat,utimensat'
CHANGING+=',setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr,send,sendto,sendmsg,sendmmsg,add_key,keyctl'

# changes ARG...: runs keyrota ARG... and prints each call by which it changed something. Left out: calls that failed; opening for reading only, and the store's
# lock and those of the access table, which are there and are not written to; devices (a TPM); what goes to a pipe (systemd-creds has the sealed key from one, and answers by another), to standard
# output and standard error; reading keys. What keyrota prints, and its exit status, are in $TREE.output.
changes() {
        strace -f --seccomp-bpf -qq -y -z -e trace="$CHANGING" -e signal=none -o "$TREE.trace" \
                "$KEYROTA" --root="$TREE" --keyring="$RING" "$@" >"$TREE.output" 2>&1
        echo "status $?" >>"$TREE.output"
        sed -E -e 's/^[0-9]+ +//' \
                -e '/^open(at|at2)?\(.*O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)/!{/^open/d}' \
                -e '/^openat\(.*, "\.lock", /d' -e '/^openat2\(.*"[^"]*\/access(-table)?\.lock", /d' \
                -e '/^openat\([^,]*, "\/dev\//d' -e '/^write\([0-9]+<\/dev\//d' \
                -e '/^write\([0-9]+<pipe:/d' -e '/^write\([12]</d' \
                -e '/^keyctl\(KEYCTL_(READ|DESCRIBE|SEARCH|GET_KEYRING_ID|CAPABILITIES)/d' "$TREE.trace" | sed "s|$TREE||g"
        rm -f "$TREE.trace"
}
