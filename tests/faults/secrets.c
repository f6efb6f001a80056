/* The secret: who has another one is turned away with a text that says what to do; who has the same one gets in. */
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Restarts the subject with other variables; it listens, and has its region. */
static void restart_with(scene_t *scene, const char *const *variables) {
  hmc_peer_close(scene->subject.peer);
  target_stop(&scene->subject.target);
  side_start(&scene->subject, 0, REGION_SIZE, variables);
}

static hmc_status_t try_connect(hmc_context_t *context, uint16_t port) {
  hmc_peer_t *peer = NULL;
  uint64_t start = now_ms();
  hmc_status_t status = hmc_context_connect(context, "127.0.0.1", port, stamp.type, PATIENCE_MS, &peer);
  assert_took(start, 0, 500);
  assert_true((status == HMC_SUCCESS) == (peer != NULL));
  hmc_peer_close(peer);
  return status;
}

/* The subject tries to connect here, and is refused with a text that holds `part`; nothing reaches hmc_context_accept.
 */
static void expect_turned_away(scene_t *scene, const char *part) {
  uint16_t port = 0;
  hmc_peer_t *peer = NULL;
  assert_success(hmc_context_listen(scene->context, "127.0.0.1", 0, &port));
  command_t dial = {.verb = VERB_CONNECT, .slot = 9, .text = "127.0.0.1", .value = port, .type = stamp.type};
  answer_t answer = target_call(&scene->subject.target, dial);
  assert_int_equal(answer.status, HMC_DENIED);
  if (!strstr(answer.text, part)) fail_msg("\"%s\" is not in the target's text \"%s\"", part, answer.text);
  assert_status(hmc_context_accept(scene->context, 100, &peer), HMC_TIMEOUT);
  assert_null(peer);
  assert_success(exchange(&scene->local, 0, scene->bystander.remote, 0, TRAFFIC_ROOM, 3, 1));
}

void wrong_secret(void **state) {
  scene_t *scene = *state;
  restart_with(scene, (const char *const[]){"HMC_SECRET", "quite another secret", NULL});
  assert_status(try_connect(scene->context, scene->subject.port), HMC_DENIED);
  assert_error_names("secret");
  assert_error_names(".hmc/secret"); /* what was looked for here */
  expect_turned_away(scene, "HMC_SECRET");
  if (strstr(hmc_last_error(), "quite another")) fail_msg("the text gives the secret away");
}

void same_secret_in_settings(void **state) {
  scene_t *scene = *state;
  hmc_context_t *context = NULL;
  restart_with(scene, (const char *const[]){"HMC_SECRET", "agreed upon by both ends", NULL});
  setenv("HMC_SECRET", "agreed upon by both ends", 1);
  hmc_status_t status = hmc_context_create(NULL, &context);
  unsetenv("HMC_SECRET");
  assert_status(status, HMC_SUCCESS);
  assert_success(try_connect(context, scene->subject.port));
  assert_status(try_connect(context, scene->bystander.port), HMC_DENIED);
  hmc_context_destroy(context);
  assert_status(try_connect(scene->context, scene->subject.port), HMC_DENIED);
}

void insecure_and_secure(void **state) {
  scene_t *scene = *state;
  hmc_context_t *context = NULL;
  restart_with(scene, (const char *const[]){"HMC_INSECURE", "1", NULL});
  assert_status(try_connect(scene->context, scene->subject.port), HMC_DENIED);
  assert_text();
  expect_turned_away(scene, "");
  setenv("HMC_INSECURE", "1", 1);
  hmc_status_t status = hmc_context_create(NULL, &context);
  unsetenv("HMC_INSECURE");
  assert_status(status, HMC_SUCCESS);
  assert_status(try_connect(context, scene->bystander.port), HMC_DENIED);
  assert_text();
  assert_success(try_connect(context, scene->subject.port));
  hmc_context_destroy(context);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void secret_path(char *path, size_t size, const char *name) {
  snprintf(path, size, "%s/%s", environment_home(), name);
}

static void write_secret(const char *path, const char *text, mode_t mode) {
  int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(descriptor >= 0);
  assert_int_equal(write(descriptor, text, strlen(text)), strlen(text));
  assert_int_equal(fchmod(descriptor, mode), 0);
  close(descriptor);
}

static hmc_status_t create_with_file(const char *path, hmc_context_t **context) {
  setenv("HMC_SECRET_FILE", path, 1);
  hmc_status_t status = hmc_context_create(NULL, context);
  unsetenv("HMC_SECRET_FILE");
  return status;
}

static void expect_file_refused(const char *path, const char *part) {
  hmc_context_t *context = NULL;
  assert_status(create_with_file(path, &context), HMC_INVALID_CONFIG);
  assert_null(context);
  assert_error_names(path);
  assert_error_names(part);
}

void secret_file(void **state) {
  scene_t *scene = *state;
  char path[128];
  hmc_context_t *context = NULL;
  secret_path(path, sizeof path, "no such secret");
  expect_file_refused(path, "HMC_SECRET_FILE");
  secret_path(path, sizeof path, "job secret");
  write_secret(path, "", 0600);
  expect_file_refused(path, "empty");
  write_secret(path, "for the job of two ends", 0644);
  expect_file_refused(path, "chmod");
  write_secret(path, "for the job of two ends", 0640);
  expect_file_refused(path, "chmod");
  write_secret(path, "for the job of two ends", 0600);
  assert_success(create_with_file(path, &context));
  restart_with(scene, (const char *const[]){"HMC_SECRET_FILE", path, NULL});
  assert_success(try_connect(context, scene->subject.port));
  assert_status(try_connect(scene->context, scene->subject.port), HMC_DENIED);
  hmc_context_destroy(context);
  unlink(path);
}

void secret_made_on_first_use(void **state) {
  (void)state;
  char path[128];
  struct stat file, folder;
  hmc_context_t *context = NULL;
  secret_path(path, sizeof path, ".hmc");
  assert_int_equal(stat(path, &folder), 0);
  assert_int_equal(folder.st_mode & 07777, 0700);
  secret_path(path, sizeof path, ".hmc/secret");
  assert_int_equal(stat(path, &file), 0);
  assert_int_equal(file.st_mode & 07777, 0600);
  assert_true(file.st_size >= 32);
  assert_int_equal(chmod(path, 0604), 0);
  hmc_status_t status = hmc_context_create(NULL, &context);
  assert_int_equal(chmod(path, 0600), 0);
  assert_status(status, HMC_INVALID_CONFIG);
  assert_error_names("chmod");
  assert_null(context);
}
