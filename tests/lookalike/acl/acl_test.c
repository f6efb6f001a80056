/* The look-alike of libascendcl refuses what the real one refuses, and moves bytes only when it is asked about them. */
#include "acl/acl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { SIZE = 10000 };

static void nothing_before_init(void **state) {
  (void)state;
  void *pointer;
  assert_int_equal(aclrtSetDevice(0), ACL_ERROR_UNINITIALIZE);
  assert_int_equal(aclInit(NULL), ACL_SUCCESS);
  assert_int_equal(aclInit(NULL), ACL_ERROR_REPEAT_INITIALIZE);
  assert_int_equal(aclrtMalloc(&pointer, SIZE, ACL_MEM_MALLOC_HUGE_FIRST), ACL_ERROR_RT_CONTEXT_NULL);
  assert_int_equal(aclrtSetDevice(2), ACL_ERROR_RT_INVALID_DEVICEID);
  assert_int_equal(aclrtSetDevice(0), ACL_SUCCESS);
}

static void copies_move_when_asked(void **state) {
  (void)state;
  char *host = calloc(1, SIZE), *back = calloc(1, SIZE);
  void *device, *stream, *event;
  memset(host, 'x', SIZE);
  assert_int_equal(aclrtMalloc(&device, SIZE, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  assert_int_equal(aclrtCreateStream(&stream), ACL_SUCCESS);
  assert_int_equal(aclrtCreateEvent(&event), ACL_SUCCESS);
  assert_int_equal(aclrtMemcpyAsync(device, SIZE, host, SIZE, ACL_MEMCPY_HOST_TO_DEVICE, stream), ACL_SUCCESS);
  assert_int_equal(aclrtMemcpyAsync(back, SIZE, device, SIZE, ACL_MEMCPY_DEVICE_TO_HOST, stream), ACL_SUCCESS);
  assert_int_equal(aclrtRecordEvent(event, stream), ACL_SUCCESS);
  aclrtEventRecordedStatus done;
  assert_int_equal(aclrtQueryEventStatus(event, &done), ACL_SUCCESS);
  assert_int_equal(done, ACL_EVENT_RECORDED_STATUS_NOT_READY);
  assert_int_equal(back[SIZE - 1], 0);
  assert_int_equal(aclrtQueryEventStatus(event, &done), ACL_SUCCESS);
  assert_int_equal(done, ACL_EVENT_RECORDED_STATUS_COMPLETE);
  assert_memory_equal(host, back, SIZE);
  assert_int_equal(aclrtDestroyEvent(event), ACL_SUCCESS);
  assert_int_equal(aclrtDestroyStream(stream), ACL_SUCCESS);
  assert_int_equal(aclrtFree(device), ACL_SUCCESS);
  free(host);
  free(back);
}

static void misuse_is_refused(void **state) {
  (void)state;
  char host[64] = {0};
  void *device, *stream, *other;
  assert_int_equal(aclrtMalloc(&device, SIZE, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  assert_int_equal(aclrtCreateStream(&stream), ACL_SUCCESS);
  assert_int_not_equal(aclrtMemcpy(device, SIZE, host, 64, ACL_MEMCPY_DEVICE_TO_HOST), ACL_SUCCESS);
  assert_int_not_equal(aclrtMemcpy(host, 32, device, 64, ACL_MEMCPY_DEVICE_TO_HOST), ACL_SUCCESS);
  assert_int_not_equal(aclrtMemcpy(host, 64, (char *)device + SIZE - 32, 64, ACL_MEMCPY_DEVICE_TO_HOST), ACL_SUCCESS);
  assert_int_not_equal(aclrtFree((char *)device + 1), ACL_SUCCESS);
  assert_int_not_equal(aclrtFree(host), ACL_SUCCESS);
  /* another device's stream; freed memory under a copy; memory of a device that has not let this one in */
  assert_int_equal(aclrtSetDevice(1), ACL_SUCCESS);
  assert_int_equal(aclrtSynchronizeStream(stream), ACL_ERROR_RT_STREAM_CONTEXT);
  assert_int_equal(aclrtMalloc(&other, SIZE, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  assert_int_not_equal(aclrtMemcpy(other, SIZE, device, SIZE, ACL_MEMCPY_DEVICE_TO_DEVICE), ACL_SUCCESS);
  assert_int_equal(aclrtDeviceEnablePeerAccess(0, 0), ACL_SUCCESS); /* one direction only */
  assert_int_not_equal(aclrtMemcpy(other, SIZE, device, SIZE, ACL_MEMCPY_DEVICE_TO_DEVICE), ACL_SUCCESS);
  assert_int_equal(aclrtSetDevice(0), ACL_SUCCESS);
  assert_int_equal(aclrtDeviceEnablePeerAccess(1, 0), ACL_SUCCESS);
  assert_int_equal(aclrtSetDevice(1), ACL_SUCCESS);
  assert_int_equal(aclrtMemcpy(other, SIZE, device, SIZE, ACL_MEMCPY_DEVICE_TO_DEVICE), ACL_SUCCESS);
  assert_int_equal(aclrtFree(other), ACL_SUCCESS);
  assert_int_equal(aclrtSetDevice(0), ACL_SUCCESS);
  assert_int_equal(aclrtMemcpyAsync(device, SIZE, host, 64, ACL_MEMCPY_HOST_TO_DEVICE, stream), ACL_SUCCESS);
  assert_int_equal(aclrtFree(device), ACL_SUCCESS);
  assert_int_not_equal(aclrtSynchronizeStream(stream), ACL_SUCCESS);
  assert_int_equal(aclrtDestroyStream(stream), ACL_SUCCESS);
}

/* A process that started before the library was opened here reads what this one exports; this one may not. */
static void a_key_is_for_others(void **state) {
  int *pipes = *state;
  char key[65], said = 0;
  void *device, *pointer;
  assert_int_equal(aclrtMalloc(&device, SIZE, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
  assert_int_equal(aclrtMemset(device, SIZE, 'k', SIZE), ACL_SUCCESS);
  assert_int_equal(aclrtIpcMemGetExportKey(device, SIZE, key, sizeof key, 1), ACL_SUCCESS);
  assert_int_not_equal(aclrtIpcMemImportByKey(&pointer, key, 0), ACL_SUCCESS);
  assert_int_equal(write(pipes[1], key, sizeof key), sizeof key);
  assert_int_equal(read(pipes[2], &said, 1), 1);
  assert_int_equal(said, 'k');
  assert_int_equal(aclrtIpcMemClose(key), ACL_SUCCESS);
  assert_int_equal(aclrtFree(device), ACL_SUCCESS);
}

static void read_for_others(const int *pipes) {
  char key[65], byte = 0;
  void *pointer;
  if (read(pipes[0], key, sizeof key) == sizeof key && !aclInit(NULL) && !aclrtSetDevice(1) &&
      !aclrtIpcMemImportByKey(&pointer, key, 0) &&
      !aclrtMemcpy(&byte, 1, (char *)pointer + SIZE - 1, 1, ACL_MEMCPY_DEVICE_TO_HOST) && !aclrtIpcMemClose(key)) {
    if (write(pipes[3], &byte, 1) != 1) _exit(1);
  }
  _exit(0);
}

int main(void) {
  static int pipes[4]; /* there: [0] reads, [1] writes; back: [2], [3] */
  if (pipe(pipes) || pipe(pipes + 2)) return 1;
  pid_t reader = fork();
  if (reader == 0) {
    close(pipes[1]);
    read_for_others(pipes);
  }
  close(pipes[3]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_before_init),
      cmocka_unit_test(copies_move_when_asked),
      cmocka_unit_test(misuse_is_refused),
      cmocka_unit_test_prestate(a_key_is_for_others, pipes),
  };
  int failed = cmocka_run_group_tests_name("lookalike.acl", tests, NULL, NULL);
  close(pipes[1]);
  waitpid(reader, NULL, 0);
  return failed ? 1 : 0;
}
