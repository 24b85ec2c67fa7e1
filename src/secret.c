/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A small allocator over locked memory, the hardening of the process and of the threads that handle keys.
 *
 * Small blocks are cut from chunks and kept in a free list for each size class; large ones are mappings of
 * their own. A free block is all zeros but for its header, so that wiping on release makes every new block a
 * zeroed one. Calls libc only.
 */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "secret.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void) (address), (void) (size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void) (address), (void) (size))
#endif

/* valgrind takes the stack of a thread that has ended for gone. */
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_UNDEFINED(address, size) ((void) (address), (void) (size))
#endif

#define ALIGNMENT ((size_t) 16)
#define CHUNK_SIZE ((size_t) 256 * 1024) /* small, as RLIMIT_MEMLOCK may be 8 MiB in all */
#define SMALL_MAX ((size_t) 16 * 1024)   /* largest block cut from a chunk, header included */
#define CLASS_COUNT 36
#define CLASS_LARGE UINT32_MAX
#define STACK_SIZE ((size_t) 256 * 1024)
#define STACK_GUARD ((size_t) 64 * 1024) /* a multiple of every page size in use */

#define MAGIC_USED UINT32_C(0x6b657973)
#define MAGIC_FREE UINT32_C(0x66726565)

struct block {
        union {
                size_t size;        /* in use: bytes asked for */
                struct block *next; /* free: the next one of its class */
        };
        uint32_t class;
        uint32_t magic;
};
_Static_assert(sizeof(struct block) == 16, "a block's header keeps what follows it aligned");

static struct {
        pthread_mutex_t lock;
        struct block *free[CLASS_COUNT];
        uint8_t *chunk; /* the rest of the newest chunk */
        size_t chunk_left;
        size_t in_use;
        size_t locked;
} arena = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Classes go in steps of 16 bytes up to 128 and then in four steps to each doubling, so that little is
 * lost to rounding. */
static uint32_t class_of(size_t total) {
        unsigned shift;

        if (total <= 128)
                return (uint32_t) ((total + ALIGNMENT - 1) / ALIGNMENT - 1);
        shift = (unsigned) (63 - __builtin_clzll((unsigned long long) total - 1)); /* 7: 129..256 */
        return (uint32_t) (8 + (shift - 7) * 4 + (((total - 1) >> (shift - 2)) & 3));
}

static size_t class_size(uint32_t class) {
        if (class < 8)
                return (class + 1) * ALIGNMENT;
        return ((size_t) 32 << ((class - 8) / 4)) * (5 + (class - 8) % 4);
}

static size_t round_to_pages(size_t size) {
        size_t page = (size_t) sysconf(_SC_PAGESIZE);

        return (size + page - 1) / page * page;
}

/* Memory as secret.h promises it, or NULL: what the kernel will not lock is not handed out. */
static void *map_locked(size_t size) {
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED)
                return NULL;
        if (madvise(memory, size, MADV_DONTDUMP) < 0 ||
            (madvise(memory, size, MADV_WIPEONFORK) < 0 && madvise(memory, size, MADV_DONTFORK) < 0) ||
            mlock(memory, size) < 0) {
                (void) munmap(memory, size);
                return NULL;
        }
        return memory;
}

static struct block *header_of(void *pointer) {
        struct block *block = (struct block *) ((uint8_t *) pointer - sizeof(struct block));

        ASAN_UNPOISON_MEMORY_REGION(block, sizeof(*block));
        if (block->magic != MAGIC_USED) {
                static const char text[] = "keyrota: released memory that is not in use; stopping.\n";

                (void) !write(STDERR_FILENO, text, sizeof(text) - 1);
                abort();
        }
        return block;
}

/* Bytes that fit in a block without moving it. */
static size_t block_capacity(const struct block *block) {
        if (block->class == CLASS_LARGE)
                return round_to_pages(sizeof(*block) + block->size) - sizeof(*block);
        return class_size(block->class) - sizeof(*block);
}

/* Marks the block as one of size bytes and gives those to the caller. */
static void *block_hand_out(struct block *block, size_t size) {
        void *pointer = block + 1;

        block->size = size;
        block->magic = MAGIC_USED;
        ASAN_POISON_MEMORY_REGION(pointer, block_capacity(block));
        ASAN_UNPOISON_MEMORY_REGION(pointer, size);
        ASAN_POISON_MEMORY_REGION(block, sizeof(*block));
        return pointer;
}

/* With the lock held. */
static struct block *take_small(uint32_t class) {
        size_t total = class_size(class);
        struct block *block = arena.free[class];

        if (block) {
                ASAN_UNPOISON_MEMORY_REGION(block, total);
                arena.free[class] = block->next;
                return block;
        }

        if (arena.chunk_left < total) {
                uint8_t *chunk = map_locked(CHUNK_SIZE);

                if (!chunk)
                        return NULL;
                ASAN_POISON_MEMORY_REGION(chunk, CHUNK_SIZE);
                arena.chunk = chunk;
                arena.chunk_left = CHUNK_SIZE;
                arena.locked += CHUNK_SIZE;
        }
        block = (struct block *) arena.chunk;
        arena.chunk += total;
        arena.chunk_left -= total;
        ASAN_UNPOISON_MEMORY_REGION(block, total);
        block->class = class;
        return block;
}

void *secret_malloc(size_t size) {
        size_t total = size + sizeof(struct block), mapped = 0;
        struct block *block;

        if (size > PTRDIFF_MAX - CHUNK_SIZE) {
                errno = ENOMEM;
                return NULL;
        }

        (void) pthread_mutex_lock(&arena.lock);
        if (total <= SMALL_MAX)
                block = take_small(class_of(total));
        else {
                mapped = round_to_pages(total);
                block = map_locked(mapped);
                if (block)
                        block->class = CLASS_LARGE;
        }
        if (block) {
                arena.in_use += size;
                arena.locked += mapped;
        }
        (void) pthread_mutex_unlock(&arena.lock);

        if (!block) {
                errno = ENOMEM;
                return NULL;
        }
        return block_hand_out(block, size);
}

void secret_release(void *pointer) {
        struct block *block;
        size_t size, capacity;

        if (!pointer)
                return;
        block = header_of(pointer);
        size = block->size;
        capacity = block_capacity(block);
        ASAN_UNPOISON_MEMORY_REGION(pointer, capacity);
        explicit_bzero(pointer, capacity);

        (void) pthread_mutex_lock(&arena.lock);
        arena.in_use -= size;
        if (block->class == CLASS_LARGE) {
                arena.locked -= capacity + sizeof(*block);
                (void) munmap(block, capacity + sizeof(*block));
        } else {
                block->magic = MAGIC_FREE;
                block->next = arena.free[block->class];
                arena.free[block->class] = block;
                ASAN_POISON_MEMORY_REGION(block, capacity + sizeof(*block));
        }
        (void) pthread_mutex_unlock(&arena.lock);
}

void *secret_realloc(void *pointer, size_t size) {
        struct block *block;
        size_t old;
        void *moved;
        bool stays;

        if (!pointer)
                return secret_malloc(size);
        if (size == 0) {
                secret_release(pointer);
                return NULL;
        }

        block = header_of(pointer);
        old = block->size;
        /* A large block stays only where it keeps its number of pages: the size of its mapping follows
         * from its own. */
        stays = block->class == CLASS_LARGE
                ? round_to_pages(sizeof(*block) + size) == block_capacity(block) + sizeof(*block)
                : size <= block_capacity(block);
        if (stays) {
                if (size < old)
                        explicit_bzero((uint8_t *) pointer + size, old - size);
                (void) pthread_mutex_lock(&arena.lock);
                arena.in_use = arena.in_use - old + size;
                (void) pthread_mutex_unlock(&arena.lock);
                return block_hand_out(block, size);
        }
        ASAN_POISON_MEMORY_REGION(block, sizeof(*block));

        moved = secret_malloc(size);
        if (!moved)
                return NULL;
        memcpy(moved, pointer, old < size ? old : size);
        secret_release(pointer);
        return moved;
}

size_t secret_bytes_in_use(void) {
        size_t size;

        (void) pthread_mutex_lock(&arena.lock);
        size = arena.in_use;
        (void) pthread_mutex_unlock(&arena.lock);
        return size;
}

size_t secret_bytes_locked(void) {
        size_t size;

        (void) pthread_mutex_lock(&arena.lock);
        size = arena.locked;
        (void) pthread_mutex_unlock(&arena.lock);
        return size;
}

int secret_new(size_t size, struct secret **ret) {
        struct secret *secret;

        if (size > PTRDIFF_MAX - CHUNK_SIZE)
                return -ENOMEM;
        secret = secret_malloc(sizeof(*secret) + size + 1);
        if (!secret)
                return -ENOMEM;
        secret->size = size;
        secret->data = (uint8_t *) (secret + 1);
        *ret = secret;
        return 0;
}

int secret_new_from(const void *data, size_t size, struct secret **ret) {
        int r;

        r = secret_new(size, ret);
        if (r < 0)
                return r;
        if (size > 0)
                memcpy((*ret)->data, data, size);
        return 0;
}

void secret_free(struct secret *secret) {
        secret_release(secret);
}

bool secret_equal(const struct secret *a, const struct secret *b) {
        volatile uint8_t difference = 0;

        if (a->size != b->size)
                return false;
        for (size_t i = 0; i < a->size; i++)
                difference |= a->data[i] ^ b->data[i];
        return difference == 0;
}

/* The mapping that address lies in, from proc(5). */
static int find_mapping(uintptr_t address, uintptr_t *ret_start, uintptr_t *ret_end) {
        _cleanup_fclose_ FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];

        if (!maps)
                return -errno;
        while (fgets(line, sizeof(line), maps)) {
                uintptr_t start, end;

                if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &start, &end) == 2 && address >= start &&
                    address < end) {
                        *ret_start = start;
                        *ret_end = end;
                        return 0;
                }
        }
        return -ENOENT;
}

/* Lets the stack grow to the depth that keys will be handled at; it goes on growing locked and undumped
 * from there. */
static __attribute__((noinline)) void touch_stack(void) {
        uint8_t depth[STACK_SIZE];

        explicit_bzero(depth, sizeof(depth));
}

static int harden_main_stack(void) {
        uintptr_t start, end;
        int r;

        touch_stack();
        r = find_mapping((uintptr_t) &r, &start, &end);
        if (r < 0)
                return r;
        if (madvise((void *) start, end - start, MADV_DONTDUMP) < 0 ||
            mlock((const void *) start, end - start) < 0)
                return -errno;
        return 0;
}

int secret_harden_process(void) {
        struct rlimit limit;

        if (setrlimit(RLIMIT_CORE, &(struct rlimit) { 0, 0 }) < 0)
                return -errno;
        /* Neither ptrace(2) and /proc/PID/mem by others of our uid, nor a core piped to a handler, which
         * RLIMIT_CORE does not stop. */
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return -errno;
        if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                (void) setrlimit(RLIMIT_MEMLOCK, &limit);
        }
        return harden_main_stack();
}

struct secret_thread {
        pthread_t thread;
        uint8_t *stack; /* guard pages first */
        void (*run)(void *userdata);
        void *userdata;
};

static void *thread_main(void *argument) {
        struct secret_thread *thread = argument;

        thread->run(thread->userdata);
        return NULL;
}

static void thread_free(struct secret_thread *thread) {
        if (thread->stack) {
                VALGRIND_MAKE_MEM_UNDEFINED(thread->stack + STACK_GUARD, STACK_SIZE);
                explicit_bzero(thread->stack + STACK_GUARD, STACK_SIZE);
                (void) munmap(thread->stack, STACK_GUARD + STACK_SIZE);
        }
        free(thread);
}
DEFINE_CLEANUP(struct secret_thread *, thread_free);

int secret_thread_start(void (*run)(void *userdata), void *userdata, struct secret_thread **ret) {
        _cleanup_(thread_freep) struct secret_thread *thread = NULL;
        pthread_attr_t attributes;
        void *mapping;
        int r;

        thread = calloc(1, sizeof(*thread));
        if (!thread)
                return -ENOMEM;
        thread->run = run;
        thread->userdata = userdata;

        /* Not wiped on fork(2) as other secret memory is: the child of a thread runs on the copy of this
         * stack. */
        mapping = mmap(NULL, STACK_GUARD + STACK_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1,
                       0);
        if (mapping == MAP_FAILED)
                return -ENOMEM;
        thread->stack = mapping;
        if (mprotect(thread->stack + STACK_GUARD, STACK_SIZE, PROT_READ | PROT_WRITE) < 0 ||
            madvise(thread->stack + STACK_GUARD, STACK_SIZE, MADV_DONTDUMP) < 0 ||
            mlock(thread->stack + STACK_GUARD, STACK_SIZE) < 0) {
                (void) munmap(TAKE_PTR(thread->stack), STACK_GUARD + STACK_SIZE);
                return -ENOMEM;
        }

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;
        r = pthread_attr_setstack(&attributes, thread->stack + STACK_GUARD, STACK_SIZE);
        if (r == 0)
                r = pthread_create(&thread->thread, &attributes, thread_main, thread);
        (void) pthread_attr_destroy(&attributes);
        if (r != 0)
                return -r;

        *ret = TAKE_PTR(thread);
        return 0;
}

void secret_thread_join(struct secret_thread *thread) {
        if (!thread)
                return;
        (void) pthread_join(thread->thread, NULL);
        thread_free(thread);
}
