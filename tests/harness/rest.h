/* Waiting until the other threads of this process sleep, and forking then. The allocator of a sanitizer does not survive
 * a fork while another thread is in it: the child's first allocation waits forever. */
#ifndef HMC_TESTS_REST_H
#define HMC_TESTS_REST_H

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* None has a processor, or waits for one: 'S' behind their names says so. */
static inline bool others_sleep(void) {
  DIR *tasks = opendir("/proc/self/task");
  bool sleep = tasks != NULL;
  for (struct dirent *task; sleep && (task = readdir(tasks));) {
    char path[300], text[200] = "";
    if (task->d_name[0] == '.' || atoi(task->d_name) == gettid()) continue;
    snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue; /* it has ended */
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    const char *name_end = got > 0 ? strrchr(text, ')') : NULL;
    sleep = !name_end || strncmp(name_end, ") S", 3) == 0;
  }
  if (tasks) closedir(tasks);
  return sleep;
}

/* Waits until the other threads sleep; ten seconds at most. */
static inline void await_rest(void) {
  for (int i = 0; i < 10000 && !others_sleep(); i++) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static inline pid_t fork_at_rest(void) {
  await_rest();
  return fork();
}

#endif
