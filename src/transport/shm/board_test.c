/* The shared words of shm, where the peer that shares them lies. */
#include "shm.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static int make_file(uint64_t size, int seals) {
  int file = memfd_create("hmc-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  assert_true(file >= 0);
  assert_int_equal(ftruncate(file, (off_t)size), 0);
  if (seals) assert_int_equal(fcntl(file, F_ADD_SEALS, seals), 0);
  return file;
}

/* A file that its sender could cut off is not mapped: a thread that touched it then would die by SIGBUS. */
static void test_unsealed_files_are_refused(void **state) {
  (void)state;
  shm_board_t *board;
  shm_accesses_t *accesses;
  bool carries;
  int open = make_file(sizeof *board, 0), growing = make_file(sizeof *board, F_SEAL_GROW);
  int sealed = make_file(sizeof *board, F_SEAL_SHRINK), small = make_file(100, F_SEAL_SHRINK);
  const int bad[] = {open, growing, small, -1, 10000};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(hmci_shm_board_map(bad[i], &board), HMC_CORRUPT);
    assert_int_equal(hmci_shm_accesses_map(bad[i], &accesses, &carries), HMC_CORRUPT);
    assert_false(hmci_shm_is_sound(bad[i], sizeof *board));
  }
  assert_int_equal(hmci_shm_board_map(sealed, &board), HMC_SUCCESS);
  assert_true(hmci_shm_is_sound(sealed, sizeof *board));
  assert_false(hmci_shm_is_sound(sealed, sizeof *board + 1));
  hmci_shm_board_destroy(board, sealed);
  close(open);
  close(growing);
  close(small);
}

/* An older peer's page ends before the bytes of small puts. The memory behind it is this process's own. */
static void test_a_short_page_carries_nothing(void **state) {
  (void)state;
  shm_accesses_t *accesses;
  bool carries;
  int old = make_file(offsetof(shm_accesses_t, bytes), F_SEAL_SHRINK),
      whole = make_file(sizeof *accesses, F_SEAL_SHRINK);
  assert_int_equal(hmci_shm_accesses_map(whole, &accesses, &carries), HMC_SUCCESS);
  assert_true(carries);
  hmci_shm_accesses_unmap(accesses);
  assert_int_equal(hmci_shm_accesses_map(old, &accesses, &carries), HMC_SUCCESS);
  assert_false(carries);
  accesses->bytes[1][SHM_PULLS - 1][SHM_PULL_BYTES - 1] = 1;
  atomic_store(&accesses->attentive[1], 1);
  uint32_t seen = 0;
  assert_int_equal(pread(old, &seen, sizeof seen, offsetof(shm_accesses_t, attentive[1])), sizeof seen);
  assert_int_equal(seen, 1);
  hmci_shm_accesses_unmap(accesses);
  close(old);
  close(whole);
}

/* A peer that fills this end's slots of announcements keeps nobody waiting. */
static void test_announcing_needs_nothing_of_the_peer(void **state) {
  (void)state;
  shm_board_t *board;
  int board_file, accesses_file;
  uint32_t slots[SHM_ACCESSES];
  shm_connection_t *connection = calloc(1, sizeof *connection);
  shm_remote_t remote = {.id = 5, .generation = 77};
  assert_non_null(connection);
  assert_int_equal(hmci_shm_board_create(&board, &board_file), HMC_SUCCESS);
  assert_int_equal(hmci_shm_accesses_create(&connection->accesses, &accesses_file), HMC_SUCCESS);
  connection->peer_board = board;
  atomic_store(&board->generation[5], 77);
  for (uint32_t i = 0; i < SHM_ACCESSES; i++) atomic_store(&connection->accesses->region[HMCI_DIALLED][i], 9);
  for (uint32_t i = 0; i < SHM_ACCESSES; i++)
    assert_int_equal(hmci_shm_begin_access(connection, &remote, &slots[i]), HMC_SUCCESS);
  for (uint32_t i = 0; i < SHM_ACCESSES; i++) hmci_shm_end_access(connection, slots[i]);
  atomic_store(&board->generation[5], 0);
  assert_int_equal(hmci_shm_begin_access(connection, &remote, &slots[0]), HMC_STALE);
  atomic_store(&connection->accesses->open, 0); /* the owner has closed this end */
  assert_int_equal(hmci_shm_begin_access(connection, &remote, &slots[0]), HMC_PEER_LOST);
  for (uint32_t i = 0; i < SHM_ACCESSES; i++) assert_false(atomic_load(&connection->announcing[i]));
  hmci_shm_accesses_unmap(connection->accesses);
  close(accesses_file);
  hmci_shm_board_destroy(board, board_file);
  free(connection);
}

/* A connection that has failed says nothing of a copy that the peer has begun: a region that closes waits for that as
 * long as the peer's process lives. */
static void test_copies_outlive_their_connection(void **state) {
  (void)state;
  int accesses_file;
  shm_connection_t *connection = calloc(1, sizeof *connection);
  assert_non_null(connection);
  assert_int_equal(hmci_shm_accesses_create(&connection->accesses, &accesses_file), HMC_SUCCESS);
  pid_t peer = fork();
  if (!peer) prctl(PR_SET_PDEATHSIG, SIGKILL), pause();
  assert_true(peer > 0);
  connection->peer_pidfd = (int)syscall(SYS_pidfd_open, peer, 0);
  assert_true(connection->peer_pidfd >= 0);
  atomic_store(&connection->accesses->region[HMCI_ACCEPTED][3], 5);
  assert_true(hmci_shm_has_access(connection, 5));
  assert_false(hmci_shm_has_access(connection, 6));
  atomic_store(&connection->failed, true);
  assert_true(hmci_shm_has_access(connection, 5));
  assert_false(hmci_shm_has_access(connection, 6));
  assert_int_equal(kill(peer, SIGKILL), 0);
  assert_int_equal(waitpid(peer, NULL, 0), peer);
  assert_false(hmci_shm_has_access(connection, 5));
  close(connection->peer_pidfd);
  hmci_shm_accesses_unmap(connection->accesses);
  close(accesses_file);
  free(connection);
}

/* The pages are files: the kernel ends who makes one above the limit (ulimit -f). */
static void test_under_a_limit_of_files(void **state) {
  (void)state;
  shm_board_t *board;
  int descriptor;
  struct rlimit before, tight;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  tight = before;
  tight.rlim_cur = sizeof *board - 1;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
  hmc_status_t status = hmci_shm_board_create(&board, &descriptor);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(status, HMC_NO_MEMORY);
}

/* A dialler that says that it is done, and never linked. */
static void test_ready_without_a_link(void **state) {
  (void)state;
  shm_connection_t *connection = calloc(1, sizeof *connection);
  assert_non_null(connection);
  assert_int_equal(hmci_transport_shm.connection_check(connection), HMC_CORRUPT);
  connection->linked = true;
  assert_int_equal(hmci_transport_shm.connection_check(connection), HMC_SUCCESS);
  free(connection);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unsealed_files_are_refused),
      cmocka_unit_test(test_a_short_page_carries_nothing),
      cmocka_unit_test(test_announcing_needs_nothing_of_the_peer),
      cmocka_unit_test(test_copies_outlive_their_connection),
      cmocka_unit_test(test_under_a_limit_of_files),
      cmocka_unit_test(test_ready_without_a_link),
  };
  return cmocka_run_group_tests_name("transport.shm.board", tests, NULL, NULL);
}
