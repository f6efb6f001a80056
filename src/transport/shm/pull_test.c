/* What an owner makes of pulls, and of pulls that are lies: the page is the peer's to write. */
#include "shm.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { BYTES = 64 << 10, MORE = 2 << 20, ID = 7, GENERATION = 3 };

static uint8_t memory[MORE], sent[MORE]; /* the region has the first BYTES, unless a test says otherwise */
static const hmci_memory_ops_t host_memory = {.name = "cpu", .host_accessible = true};
static hmci_region_view_t region;
static int users;

static hmc_status_t acquire(const hmci_host_t *host, uint32_t id, uint32_t generation, uint32_t rights,
                            hmci_region_view_t **found) {
  (void)host;
  assert_int_equal(rights, HMC_REMOTE_WRITE);
  if (id != ID || generation != GENERATION) return HMC_STALE;
  users++;
  *found = &region;
  return HMC_SUCCESS;
}

static void release(const hmci_host_t *host, hmci_region_view_t *view) {
  (void)host;
  assert_ptr_equal(view, &region);
  users--;
}

static _Atomic int losses;

static void note_loss(const hmci_host_t *host, void *lost, const char *reason) {
  (void)host, (void)lost, (void)reason;
  atomic_fetch_add(&losses, 1);
}

static const hmci_settings_t settings;
static const hmci_host_t host = {
    .region_acquire = acquire, .region_release = release, .settings = &settings, .connection_lost = note_loss};
static shm_transport_t transport = {.host = &host};
static shm_connection_t connection;
static shm_accesses_t page;

static int set_up(void **state) {
  (void)state;
  memset(memory, 0, sizeof memory);
  for (size_t i = 0; i < sizeof sent; i++) sent[i] = (uint8_t)(i * 7 + 1);
  memset(&page, 0, sizeof page);
  atomic_store(&page.open, 1);
  region = (hmci_region_view_t){.base = memory, .size = BYTES, .ops = &host_memory};
  connection = (shm_connection_t){.transport = &transport, .role = HMCI_DIALLED, .accesses = &page, .carries = true};
  connection.peer_process = getpid();
  connection.peer_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
  assert_true(connection.peer_pidfd >= 0);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  close(connection.peer_pidfd);
  assert_int_equal(users, 0);
  return 0;
}

/* Posts a pull, has it done, and gives its status. `count` 0: `address` is where the bytes are. */
static hmc_status_t post(uint32_t count, const void *address, uint64_t offset, uint64_t length) {
  shm_pull_t *pull = &page.pulls[!connection.role][SHM_PULLS - 1];
  pull->region = ID;
  pull->generation = GENERATION;
  pull->count = count;
  pull->address = (uint64_t)(uintptr_t)address;
  pull->offset = offset;
  pull->length = length;
  atomic_store(&pull->state, 1); /* posted */
  hmci_shm_copy_posted(&connection);
  assert_int_equal(atomic_load(&pull->state), 3); /* done */
  atomic_store(&pull->state, 0);
  return (hmc_status_t)pull->status;
}

/* The same where the bytes are in the pages. */
static hmc_status_t post_carried(const uint8_t *bytes, uint64_t offset, uint64_t length) {
  uint32_t last = SHM_PULLS - 1;
  connection.role = !connection.role; /* who puts */
  bool loaded = hmci_shm_load(&connection, last, bytes, length < SHM_PULL_BYTES ? length : SHM_PULL_BYTES);
  connection.role = !connection.role;
  return loaded ? post(SHM_CARRIED, NULL, offset, length) : HMC_INVALID_CONFIG;
}

static shm_pull_part_t part(uint64_t from, uint64_t to, uint64_t length) {
  return (shm_pull_part_t){(uint64_t)(uintptr_t)sent + from, to, length};
}

static hmc_status_t post_list(const shm_pull_part_t *parts, uint32_t count) {
  return post(count, parts, parts[0].offset, parts[0].length);
}

static bool is_untouched(void) {
  for (size_t i = 0; i < sizeof memory; i++) {
    if (memory[i]) return false;
  }
  return true;
}

static void test_pulls_are_done(void **state) {
  (void)state;
  shm_pull_part_t parts[SHM_READS];
  assert_int_equal(post(0, sent, 100, 1000), HMC_SUCCESS);
  assert_memory_equal(memory + 100, sent, 1000);
  for (uint32_t i = 0; i < SHM_READS; i++) parts[i] = part(i * 900, (SHM_READS - 1 - i) * 1000, 800 + i);
  assert_int_equal(post_list(parts, SHM_READS), HMC_SUCCESS);
  for (uint32_t i = 0; i < SHM_READS; i++) {
    assert_memory_equal(memory + parts[i].offset, sent + i * 900, parts[i].length);
    assert_int_equal(post_list(parts + i, 1), HMC_SUCCESS);
  }
}

static void test_lies_move_nothing(void **state) {
  (void)state;
  shm_pull_part_t parts[SHM_READS + 1];
  for (uint32_t i = 0; i <= SHM_READS; i++) parts[i] = part(i, i, 1);
  assert_int_equal(post_list(parts, SHM_READS + 1), HMC_CORRUPT);
  assert_int_equal(post_list(parts, SHM_CARRIED - 1), HMC_CORRUPT);
  assert_int_equal(post(2, NULL, 0, 1), HMC_PEER_LOST); /* there is no list */
  assert_int_equal(post(0, sent, BYTES, 1), HMC_OUT_OF_RANGE);
  assert_int_equal(post(0, sent, 1, UINT64_MAX), HMC_OUT_OF_RANGE);
  assert_int_equal(post(0, sent, 0, 0), HMC_OUT_OF_RANGE);
  parts[1] = part(0, BYTES - 1, 2);
  assert_int_equal(post_list(parts, 3), HMC_OUT_OF_RANGE);
  parts[1] = part(0, 5, 0);
  assert_int_equal(post_list(parts, 3), HMC_OUT_OF_RANGE);
  parts[1] = (shm_pull_part_t){UINT64_MAX - 100, 5, 1000};
  parts[0] = parts[1];
  assert_int_equal(post_list(parts, 2), HMC_INVALID_CONFIG); /* no memory is there */
  region.size = MORE;
  parts[0] = part(0, 0, 1 << 20);
  parts[1] = part(0, 1 << 20, 1);
  assert_int_equal(post_list(parts, 2), HMC_OUT_OF_RANGE); /* more than one piece */
  assert_int_equal(post(0, sent, 0, (1 << 20) + 1), HMC_OUT_OF_RANGE);
  assert_true(is_untouched());
}

static void test_bytes_are_carried(void **state) {
  (void)state;
  const uint64_t lengths[] = {1, 8, 16, 17, 64, SHM_PULL_BYTES};
  for (uint32_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    uint64_t at = i * 1000;
    assert_int_equal(post_carried(sent + i, at, lengths[i]), HMC_SUCCESS);
    assert_memory_equal(memory + at, sent + i, lengths[i]);
    assert_int_equal(memory[at + lengths[i]], 0);
  }
  for (uint32_t i = 0; i < SHM_BOUNCES; i++) atomic_store(&transport.bounce.taken[i], true); /* by others */
  assert_int_equal(post_carried(sent, BYTES - 100, 100), HMC_SUCCESS);
  assert_memory_equal(memory + BYTES - 100, sent, 100);
  for (uint32_t i = 0; i < SHM_BOUNCES; i++) atomic_store(&transport.bounce.taken[i], false);
}

static void test_carried_lies_move_nothing(void **state) {
  (void)state;
  assert_int_equal(post_carried(sent, BYTES - 7, 8), HMC_OUT_OF_RANGE);
  assert_int_equal(post_carried(sent, 0, SHM_PULL_BYTES + 1), HMC_OUT_OF_RANGE);
  assert_int_equal(post_carried(sent, 0, UINT64_MAX), HMC_OUT_OF_RANGE);
  assert_int_equal(post(SHM_CARRIED, NULL, 0, 0), HMC_OUT_OF_RANGE);
  connection.carries = false; /* the pages end before the bytes */
  assert_int_equal(post_carried(sent, 0, 8), HMC_CORRUPT);
  assert_true(is_untouched());
}

/* Memory that is none, at either end: the kernel says so. */
static void test_nothing_to_carry_from_or_to(void **state) {
  (void)state;
  size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
  uint8_t *two = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(two, MAP_FAILED);
  assert_int_equal(mprotect(two + page_size, page_size, PROT_NONE), 0);
  assert_int_equal(post_carried(two + page_size - 8, 0, 8), HMC_SUCCESS);
  assert_int_equal(post_carried(two + page_size - 8, 0, 9), HMC_INVALID_CONFIG);
  assert_int_equal(post_carried(two + page_size, 0, 1), HMC_INVALID_CONFIG);
  region.base = two;
  region.size = 2 * page_size;
  assert_int_equal(post_carried(sent, page_size - 8, 8), HMC_SUCCESS);
  assert_memory_equal(two + page_size - 8, sent, 8);
  assert_int_equal(post_carried(sent, page_size - 8, 9), HMC_STALE);
  assert_int_equal(post_carried(sent, page_size, 100), HMC_STALE);
  assert_int_equal(munmap(two, 2 * page_size), 0);
}

/* Who put has given up and closed the connection: its list is not to be trusted any more. */
static void test_a_list_that_was_left_is_not_used(void **state) {
  (void)state;
  shm_pull_part_t parts[2] = {part(0, 0, 8), part(8, 8, 8)};
  atomic_store(&page.open, 0);
  assert_int_equal(post_list(parts, 2), HMC_PEER_LOST);
  assert_true(is_untouched());
}

/* Its number may be another process's: nothing is read. */
static void test_the_dead_are_not_read(void **state) {
  (void)state;
  pid_t child = fork();
  if (!child) _exit(0);
  close(connection.peer_pidfd);
  connection.peer_pidfd = (int)syscall(SYS_pidfd_open, child, 0);
  assert_true(connection.peer_pidfd >= 0);
  while (hmci_shm_is_alive(&connection)) usleep(1000);
  assert_int_equal(post(0, sent, 0, 8), HMC_PEER_LOST); /* by the number of this process, which lives */
  assert_int_equal(waitpid(child, NULL, 0), child);
  assert_true(is_untouched());
}

/* Plays the owner: takes the first pull, and dies. */
static void *take_and_die(void *argument) {
  const pid_t *owner = argument;
  _Atomic uint32_t *pulled = &page.pulls[connection.role][0].state;
  uint32_t posted;
  do posted = 1;
  while (!atomic_compare_exchange_weak(pulled, &posted, 2)); /* busy */
  kill(*owner, SIGKILL);
  while (hmci_shm_is_alive(&connection)) usleep(1000);
  atomic_store(&connection.failed, true);
  hmci_shm_fail_pulls(&connection);
  return NULL;
}

/* Who puts learns of its owner's death though that was in the middle of a piece, and waits for nothing more. */
static void test_the_dead_finish_nothing(void **state) {
  (void)state;
  pthread_t thread;
  pid_t owner = fork();
  if (!owner) prctl(PR_SET_PDEATHSIG, SIGKILL), pause();
  close(connection.peer_pidfd);
  connection.peer_pidfd = (int)syscall(SYS_pidfd_open, owner, 0);
  assert_true(connection.peer_pidfd >= 0);
  atomic_store(&page.attentive[!connection.role], 1); /* needs no bell */
  shm_remote_t remote = {.way = SHM_ATTACH, .id = ID, .generation = GENERATION};
  hmci_region_view_t local = {.base = sent, .size = sizeof sent, .ops = &host_memory};
  hmci_segment_t segment = {.length = 4096};
  hmci_operation_t put = {.kind = HMCI_PUT, .local = &local, .remote_state = &remote, .deadline = HMCI_NEVER};
  assert_int_equal(pthread_create(&thread, NULL, take_and_die, &owner), 0);
  assert_int_equal(hmci_shm_pull_parts(&connection, &put, &segment, 1), HMC_PEER_LOST);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_int_equal(waitpid(owner, NULL, 0), owner);
  assert_int_equal(atomic_load(&losses), 0); /* it is not called stopped */
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      CASE(test_pulls_are_done),
      CASE(test_lies_move_nothing),
      CASE(test_bytes_are_carried),
      CASE(test_carried_lies_move_nothing),
      CASE(test_nothing_to_carry_from_or_to),
      CASE(test_a_list_that_was_left_is_not_used),
      CASE(test_the_dead_are_not_read),
      CASE(test_the_dead_finish_nothing),
  };
  return cmocka_run_group_tests_name("pull", tests, NULL, NULL);
}
