/* Symmetric globals: the writable data of the executable, which every PE has, at addresses of its own.
 *
 * At init their pages are copied into the shared part, which is then mapped in their place; nobody can tell but by
 * /proc/self/maps. What the loader protects after relocation (RELRO) is left out. A child of fork() would share them
 * with its parent: it gets private copies again. What writes them meanwhile, in another thread, could be lost: init is
 * called before there are such threads.
 *
 * Executables that do not need libshmem.so themselves (an interpreter that loads a module) are left alone;
 * HMC_SHMEM_GLOBALS=1 or =0 decides otherwise. */
#include "state.h"

#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *shared_start; /* written by init and finalize, read in children of fork() */
static size_t shared_size;
static pthread_once_t watch_once = PTHREAD_ONCE_INIT;

typedef struct segment {
  uintptr_t start, end;    /* the writable segment */
  uintptr_t protected_end; /* of RELRO */
  bool needs_us;
} segment_t;

static bool has_prefix(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

static bool needs_libshmem(const struct dl_phdr_info *info, const ElfW(Phdr) * header) {
  const char *strings = NULL;
  const ElfW(Dyn) *dynamic = (const ElfW(Dyn) *)(info->dlpi_addr + header->p_vaddr);
  for (const ElfW(Dyn) *entry = dynamic; entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == DT_STRTAB) strings = (const char *)entry->d_un.d_ptr;
  }
  for (const ElfW(Dyn) *entry = dynamic; strings && entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == DT_NEEDED && has_prefix(strings + entry->d_un.d_val, "libshmem.so")) return true;
  }
  return false;
}

/* The first object of the list is the executable. */
static int look_at_executable(struct dl_phdr_info *info, size_t size, void *argument) {
  (void)size;
  segment_t *segment = argument;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    uintptr_t start = info->dlpi_addr + header->p_vaddr;
    if (header->p_type == PT_LOAD && header->p_flags & PF_W) {
      segment->start = start;
      segment->end = start + header->p_memsz;
    } else if (header->p_type == PT_GNU_RELRO) {
      segment->protected_end = start + header->p_memsz;
    } else if (header->p_type == PT_DYNAMIC) {
      segment->needs_us = needs_libshmem(info, header);
    }
  }
  return 1;
}

size_t hmci_globals_find(char **start) {
  const char *wish = getenv("HMC_SHMEM_GLOBALS");
  if (wish && *wish && strcmp(wish, "0") != 0 && strcmp(wish, "1") != 0)
    hmci_die("HMC_SHMEM_GLOBALS=%s: takes 0 (globals are not symmetric) or 1 (they are)", wish);
  if (wish && strcmp(wish, "0") == 0) return 0;
  segment_t segment = {0};
  dl_iterate_phdr(look_at_executable, &segment);
  if (!segment.needs_us && !(wish && strcmp(wish, "1") == 0)) return 0;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t first = segment.start & ~(page - 1);
  if (segment.protected_end > first && segment.protected_end <= segment.end) {
    first = (segment.protected_end + page - 1) & ~(page - 1);
  }
  uintptr_t end = (segment.end + page - 1) & ~(page - 1);
  if (first >= end) return 0;
  *start = (char *)first;
  return end - first;
}

/* Pages as they are: with what the address sanitizer has between variables, at which its own memcpy would stop. Volatile,
 * so that no compiler makes a memcpy of it. */
__attribute__((no_sanitize("address", "thread", "undefined"))) static void copy_pages(char *to, const char *from,
                                                                                      size_t size) {
  const volatile uint64_t *words = (const volatile uint64_t *)(const void *)from;
  uint64_t *copies = (uint64_t *)(void *)to;
  for (size_t i = 0; i < size / sizeof *words; i++) copies[i] = words[i];
}

/* Without calls that could write a global between the copy and the moment it counts. */
static bool replace(char *start, size_t size, char *pages, size_t old_size) {
  copy_pages(pages, start, size);
  return mremap(pages, old_size, size, MREMAP_MAYMOVE | MREMAP_FIXED, start) == (void *)start;
}

static bool make_private(void) {
  char *pages = mmap(NULL, shared_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages != MAP_FAILED && replace(shared_start, shared_size, pages, shared_size);
}

static void leave_shared(void) {
  if (shared_size && !make_private()) _exit(127); /* else the child would write into its parent */
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, leave_shared); }

bool hmci_globals_share(char *start, size_t size, char *shared) {
  pthread_once(&watch_once, watch_forks);
  /* An old size of 0 makes a second mapping of the same shared pages. */
  if (!replace(start, size, shared, 0)) return false;
  shared_start = start;
  shared_size = size;
  return true;
}

void hmci_globals_unshare(void) {
  if (!shared_size) return;
  make_private();
  shared_size = 0;
}
