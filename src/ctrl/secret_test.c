#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secret.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char home[64]; /* a directory of each test's own */
static char path[128];
static int lookups;

/* Stands in for the password database. */
int getpwuid_r(uid_t user, struct passwd *entry, char *buffer, size_t size, struct passwd **result) {
  (void)user;
  lookups++;
  snprintf(buffer, size, "%s", home);
  *entry = (struct passwd){.pw_dir = buffer};
  *result = entry;
  return 0;
}

static int set_up(void **state) {
  (void)state;
  snprintf(home, sizeof(home), "/tmp/hmc-test-secret-XXXXXX");
  assert_non_null(mkdtemp(home));
  setenv("HOME", home, 1);
  unsetenv("XDG_RUNTIME_DIR");
  snprintf(path, sizeof(path), "%s/given", home);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  char inner[128];
  static const char *const names[] = {".hmc/secret", ".hmc", "hmc/secret", "hmc", "given", "folder"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    snprintf(inner, sizeof(inner), "%s/%s", home, names[i]);
    remove(inner);
  }
  return rmdir(home); /* fails where the code under test left something else behind */
}

static void write_file(const char *data, size_t size, mode_t mode) {
  unlink(path);
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  assert_true(file >= 0);
  assert_int_equal(write(file, data, size), (ssize_t)size);
  assert_int_equal(fchmod(file, mode), 0);
  close(file);
}

static hmci_settings_t with_text(const char *text) {
  hmci_settings_t settings = {0};
  snprintf(settings.secret, sizeof(settings.secret), "%s", text);
  return settings;
}

static hmci_settings_t with_file(void) {
  hmci_settings_t settings = {0};
  snprintf(settings.secret_file, sizeof(settings.secret_file), "%s", path);
  return settings;
}

static void load(const hmci_settings_t *settings, hmci_secret_t *secret) {
  if (hmci_secret_load(settings, secret) != HMC_SUCCESS) {
    fail_msg("%s", hmc_last_error());
  }
}

static void assert_refused(const hmci_settings_t *settings, hmc_status_t status, const char *text) {
  hmci_secret_t secret;
  memset(&secret, 0x5a, sizeof(secret));
  assert_int_equal(hmci_secret_load(settings, &secret), status);
  if (strstr(hmc_last_error(), text) == NULL) {
    fail_msg("\"%s\" does not say \"%s\"", hmc_last_error(), text);
  }
  for (size_t i = 0; i < sizeof(secret); i++) {
    assert_int_equal(((const uint8_t *)&secret)[i], 0x5a);
  }
}

static void test_the_key_of_a_text_never_changes(void **state) {
  (void)state;
  static const uint8_t expected[32] = {0x05, 0xc1, 0x61, 0x5b, 0x14, 0x39, 0x70, 0xae, 0xac, 0x48, 0xde,
                                       0x82, 0xc7, 0x1b, 0xc5, 0x76, 0xcb, 0x5b, 0x74, 0x77, 0xe4, 0x19,
                                       0xf1, 0xd4, 0x4f, 0x35, 0xa4, 0x28, 0x5c, 0x82, 0x5a, 0x6a};
  hmci_secret_t secret;
  hmci_settings_t settings = with_text("correct horse battery");
  load(&settings, &secret);
  assert_memory_equal(secret.key, expected, sizeof(expected));
  assert_false(secret.insecure);
  assert_string_equal(secret.source, "HMC_SECRET");
}

static void test_a_file_and_a_text_can_agree(void **state) {
  (void)state;
  static const struct {
    const char *content;
    bool same;
  } cases[] = {{"horse of a courser", true},   {"horse of a courser\n", true},    {"horse of a courser\r\n", true},
               {"horse of a courser ", false}, {"horse of a courser\n\n", false}, {"Horse of a courser", false}};
  hmci_secret_t text, file;
  hmci_settings_t settings = with_text("horse of a courser");
  load(&settings, &text);
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    write_file(cases[i].content, strlen(cases[i].content), 0600);
    settings = with_file();
    load(&settings, &file);
    assert_int_equal(memcmp(text.key, file.key, 32) == 0, cases[i].same);
  }
  assert_non_null(strstr(file.source, path));
  assert_non_null(strstr(file.source, "HMC_SECRET_FILE="));
}

static void test_the_file_comes_before_the_text(void **state) {
  (void)state;
  hmci_secret_t both, file;
  hmci_settings_t settings;
  write_file("\x00\x01\x02\n\x03\x04\x05\x06zyxwvuts", 16, 0400);
  settings = with_file();
  load(&settings, &file);
  snprintf(settings.secret, sizeof(settings.secret), "other");
  load(&settings, &both);
  assert_memory_equal(both.key, file.key, 32);
}

static void test_every_byte_of_a_file_counts(void **state) {
  (void)state;
  hmci_secret_t first, second;
  hmci_settings_t settings = with_file();
  char data[4096];
  for (size_t i = 0; i < sizeof(data); i++) {
    data[i] = (char)('a' + i % 16);
  }
  write_file(data, sizeof(data), 0600);
  load(&settings, &first);
  data[4095] = 1;
  write_file(data, sizeof(data), 0600);
  load(&settings, &second);
  assert_memory_not_equal(first.key, second.key, 32);
  write_file(data, sizeof(data) - 1, 0600);
  load(&settings, &second);
  assert_memory_not_equal(first.key, second.key, 32);
}

static void test_files_that_are_refused(void **state) {
  (void)state;
  static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0777};
  hmci_settings_t settings = with_file();
  assert_refused(&settings, HMC_INVALID_CONFIG, "No such file");
  assert_non_null(strstr(hmc_last_error(), path));
  for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
    write_file("horse of a courser", 18, modes[i]);
    assert_refused(&settings, HMC_INVALID_CONFIG, "chmod 600");
    assert_non_null(strstr(hmc_last_error(), path));
  }
  write_file("", 0, 0600);
  assert_refused(&settings, HMC_INVALID_CONFIG, "empty");
  write_file("\n", 1, 0600);
  assert_refused(&settings, HMC_INVALID_CONFIG, "empty");
  char large[4097] = {0};
  write_file(large, sizeof(large), 0600);
  assert_refused(&settings, HMC_INVALID_CONFIG, "4096");

  if (geteuid() == 0) {
    write_file("horse of a courser", 18, 0600);
    assert_int_equal(chown(path, 4711, (gid_t)-1), 0);
    assert_refused(&settings, HMC_INVALID_CONFIG, "user 4711");
  }

  unlink(path);
  assert_int_equal(mkdir(path, 0700), 0);
  assert_refused(&settings, HMC_INVALID_CONFIG, "not a plain file");
  rmdir(path);
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_refused(&settings, HMC_INVALID_CONFIG, "not a plain file"); /* and does not wait for a writer */
}

static void test_secrets_that_are_too_easy_to_guess(void **state) {
  (void)state;
  static const char *const weak[] = {"horse", "secret", "0123456789abcde", "aaaaaaaaaaaaaaaaaaaaaaaa",
                                     "12121212121212121212121212121212"};
  for (size_t i = 0; i < sizeof(weak) / sizeof(weak[0]); i++) {
    hmci_settings_t settings = with_text(weak[i]);
    assert_refused(&settings, HMC_INVALID_CONFIG, "too easy to guess");
    assert_non_null(strstr(hmc_last_error(), "HMC_SECRET"));
    assert_null(strstr(hmc_last_error(), weak[i]));
    write_file(weak[i], strlen(weak[i]), 0600);
    settings = with_file();
    assert_refused(&settings, HMC_INVALID_CONFIG, "openssl rand");
  }
  hmci_secret_t secret;
  hmci_settings_t settings = with_text("0123456789abcdef");
  load(&settings, &secret);
}

static void assert_own_file(const hmci_secret_t *secret) {
  char own[128], folder[96];
  struct stat status;
  snprintf(folder, sizeof(folder), "%s/.hmc", home);
  snprintf(own, sizeof(own), "%s/secret", folder);
  assert_string_equal(secret->source, own);
  assert_int_equal(stat(own, &status), 0);
  assert_int_equal(status.st_mode & 07777, 0600);
  assert_int_equal(status.st_size, 32);
  assert_int_equal(stat(folder, &status), 0);
  assert_int_equal(status.st_mode & 07777, 0700);
}

static void test_the_own_secret_is_made_once(void **state) {
  (void)state;
  hmci_secret_t first, second;
  hmci_settings_t settings = {0};
  mode_t mask = umask(0);
  load(&settings, &first);
  umask(mask);
  assert_own_file(&first);
  load(&settings, &second);
  assert_memory_equal(first.key, second.key, 32);

  char own[128];
  snprintf(own, sizeof(own), "%s/.hmc/secret", home);
  unlink(own);
  mask = umask(0277);
  load(&settings, &second);
  umask(mask);
  assert_own_file(&second);
  assert_memory_not_equal(first.key, second.key, 32);

  assert_int_equal(chmod(own, 0644), 0);
  assert_refused(&settings, HMC_INVALID_CONFIG, "chmod 600");
}

static void test_without_home_the_password_database_is_asked(void **state) {
  (void)state;
  hmci_secret_t secret;
  hmci_settings_t settings = {0};
  unsetenv("HOME");
  load(&settings, &secret);
  assert_own_file(&secret);
  setenv("HOME", "relative", 1);
  load(&settings, &secret);
  assert_own_file(&secret);
}

/* It may be on another host, and glibc ends the process where it has no memory for the first look. */
static void test_with_a_home_the_password_database_is_not_asked(void **state) {
  (void)state;
  hmci_settings_t settings = {0};
  hmci_secret_t secret;
  lookups = 0;
  load(&settings, &secret);
  assert_own_file(&secret);
  assert_int_equal(lookups, 0);
}

static void test_a_home_where_nothing_can_be_made(void **state) {
  (void)state;
  hmci_settings_t settings = {0};
  setenv("HOME", "/nowhere/to/be/found", 1);
  assert_refused(&settings, HMC_ERROR, "/nowhere/to/be/found/.hmc");
  assert_non_null(strstr(hmc_last_error(), "HMC_SECRET_FILE"));
  write_file("", 0, 0600); /* a file where the directory should be */
  setenv("HOME", path, 1);
  assert_refused(&settings, HMC_ERROR, path);
}

/* A system account, a read-only home: the session's folder takes its place. */
static void test_without_a_writable_home_the_session_has_a_place(void **state) {
  (void)state;
  hmci_settings_t settings = {0};
  hmci_secret_t first, second;
  char source[300];
  setenv("HOME", "/nowhere/to/be/found", 1);
  assert_refused(&settings, HMC_ERROR, "XDG_RUNTIME_DIR");
  setenv("XDG_RUNTIME_DIR", home, 1);
  load(&settings, &first);
  assert_non_null(strstr(first.source, "/hmc/secret"));
  assert_null(strstr(first.source, ".hmc"));
  load(&settings, &second);
  assert_memory_equal(first.key, second.key, 32);
  assert_int_equal(hmc_secret_source(source, sizeof source), HMC_SUCCESS);
  assert_string_equal(source, first.source);
  setenv("HOME", home, 1); /* a home that can be written comes first */
  load(&settings, &second);
  assert_memory_not_equal(first.key, second.key, 32);
}

/* As under sudo -E: the home that the environment names is another user's. */
static void test_a_home_of_another_user_is_not_for_this_one(void **state) {
  (void)state;
  hmci_settings_t settings = {0};
  hmci_secret_t secret;
  setenv("HOME", geteuid() == 0 ? "/nowhere" : "/", 1);
  if (geteuid() != 0) {
    load(&settings, &secret);
    assert_own_file(&secret);
  }
  char other[128], inner[160];
  snprintf(other, sizeof other, "%s/folder", home);
  snprintf(inner, sizeof inner, "%s/.hmc", other);
  assert_int_equal(mkdir(other, 0755), 0);
  if (geteuid() == 0) {
    assert_int_equal(mkdir(inner, 0700), 0);
    char file[192];
    snprintf(file, sizeof file, "%s/secret", inner);
    int descriptor = open(file, O_WRONLY | O_CREAT, 0600);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, "0123456789abcdefghij", 20), 20);
    close(descriptor);
    assert_int_equal(chown(file, 12345, 12345), 0);
    assert_int_equal(chown(other, 12345, 12345), 0);
    setenv("HOME", other, 1);
    load(&settings, &secret);
    assert_own_file(&secret);
    unlink(file);
    rmdir(inner);
  }
}

/* Processes that start together all get the secret of the one that was first. */
static void test_several_at_once_make_one_secret(void **state) {
  (void)state;
  enum { PROCESSES = 8 };
  int keys[2], go[2];
  assert_int_equal(pipe(keys), 0);
  assert_int_equal(pipe(go), 0);
  pid_t children[PROCESSES];
  for (int i = 0; i < PROCESSES; i++) {
    children[i] = fork();
    assert_true(children[i] >= 0);
    if (children[i] == 0) {
      hmci_secret_t secret;
      hmci_settings_t settings = {0};
      char byte;
      close(go[1]);
      if (read(go[0], &byte, 1) != 0 || hmci_secret_load(&settings, &secret) != HMC_SUCCESS) {
        _exit(1);
      }
      _exit(write(keys[1], secret.key, 32) == 32 ? 0 : 1);
    }
  }
  close(go[0]);
  close(go[1]);
  close(keys[1]);
  uint8_t first[32], key[32];
  int count = 0;
  while (read(keys[0], key, 32) == 32) {
    if (count++ == 0) {
      memcpy(first, key, 32);
    }
    assert_memory_equal(first, key, 32);
  }
  close(keys[0]);
  for (int i = 0; i < PROCESSES; i++) {
    int result;
    assert_int_equal(waitpid(children[i], &result, 0), children[i]);
    assert_int_equal(result, 0);
  }
  assert_int_equal(count, PROCESSES);
}

static int log_lines;
static void count_log(hmc_log_level_t level, const char *text, void *user) {
  (void)user;
  log_lines += level == HMC_LOG_WARNING && strstr(text, "HMC_INSECURE") != NULL;
}

static void test_insecure_says_so_once(void **state) {
  (void)state;
  hmci_secret_t secret;
  hmci_settings_t settings = with_file(); /* which is not even there */
  settings.insecure = true;
  hmc_log_set_level(HMC_LOG_WARNING);
  hmc_log_set_callback(count_log, NULL);
  load(&settings, &secret);
  assert_true(secret.insecure);
  assert_string_equal(secret.source, "HMC_INSECURE");
  load(&settings, &secret);
  hmc_log_set_callback(NULL, NULL);
  assert_int_equal(log_lines, 1);
}

static void test_wipe(void **state) {
  (void)state;
  static const uint8_t zeros[32];
  hmci_secret_t secret;
  hmci_settings_t settings = with_text("horse of a courser");
  load(&settings, &secret);
  assert_memory_not_equal(secret.key, zeros, 32);
  hmci_secret_wipe(&secret);
  assert_memory_equal(secret.key, zeros, 32);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(test_the_key_of_a_text_never_changes),
      TEST(test_a_file_and_a_text_can_agree),
      TEST(test_the_file_comes_before_the_text),
      TEST(test_every_byte_of_a_file_counts),
      TEST(test_files_that_are_refused),
      TEST(test_secrets_that_are_too_easy_to_guess),
      TEST(test_the_own_secret_is_made_once),
      TEST(test_without_home_the_password_database_is_asked),
      TEST(test_with_a_home_the_password_database_is_not_asked),
      TEST(test_a_home_where_nothing_can_be_made),
      TEST(test_without_a_writable_home_the_session_has_a_place),
      TEST(test_a_home_of_another_user_is_not_for_this_one),
      TEST(test_several_at_once_make_one_secret),
      TEST(test_insecure_says_so_once),
      TEST(test_wipe),
  };
  return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
