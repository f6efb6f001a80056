/* Tests of JSON as etcd's client reads and writes it. */
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The text's value; the text has to be freed. */
static hmci_json_t of(hmci_text_t *text, const char *from) {
  hmci_text_clear(text);
  hmci_text_add(text, from, strlen(from));
  return hmci_text_read(text);
}

static void members_are_found(void **state) {
  (void)state;
  hmci_text_t text = {.data = NULL};
  hmci_json_t answer =
      of(&text, "{\"header\": {\"revision\":\"42\", \"deep\":{\"x\":[1,2]}}, \"s\":\"a\\\"}b\", \"ok\":true,\n"
                "\"kvs\":[{\"key\":\"Zm9v\"},{\"key\":\"YmFy\"}]}");
  assert_int_equal(hmci_json_number(hmci_json_get(answer, "header.revision")), 42);
  assert_true(hmci_json_is_true(hmci_json_get(answer, "ok")));
  assert_null(hmci_json_get(answer, "header.none"));
  assert_null(hmci_json_get(answer, "none.revision"));
  int count = 0;
  for (hmci_json_t at = hmci_json_next(hmci_json_get(answer, "kvs"), NULL); at != NULL;
       at = hmci_json_next(hmci_json_get(answer, "kvs"), at)) {
    size_t size;
    uint8_t *key = hmci_json_bytes(hmci_json_get(at, "key"), &size);
    assert_int_equal(size, 3);
    assert_string_equal((char *)key, count++ == 0 ? "foo" : "bar");
    free(key);
  }
  assert_int_equal(count, 2);
  assert_null(hmci_json_get(answer, "kvs.key"));
  hmci_text_free(&text);
}

static void bytes_survive(void **state) {
  (void)state;
  uint8_t sent[256];
  for (size_t size = 0; size < sizeof(sent); size++) {
    hmci_text_t text = {.data = NULL};
    sent[size] = (uint8_t)(size * 7);
    hmci_text_bytes(&text, sent, size);
    size_t got_size;
    uint8_t *got = hmci_json_bytes(hmci_text_read(&text), &got_size);
    assert_non_null(got);
    assert_int_equal(got_size, size);
    assert_memory_equal(got, sent, size);
    free(got);
    hmci_text_free(&text);
  }
}

/* Every cut of a text, and every byte of it changed, is read within its bounds: the sanitizers look. */
static void what_is_malformed_is_not_there(void **state) {
  (void)state;
  const char *whole = "{\"a\":{\"b\":[\"Zm9v\",{\"c\":\"12\"}]},\"d\":tru}";
  for (size_t cut = 0; cut <= strlen(whole); cut++) {
    char *text = malloc(cut + 1);
    memcpy(text, whole, cut);
    for (size_t changed = 0; changed <= cut; changed++) {
      for (const char *to = "{}[]\":,\\x"; *to != '\0'; to++) {
        char old = changed < cut ? text[changed] : 0;
        if (changed < cut) {
          text[changed] = *to;
        }
        hmci_text_t copy = {.data = NULL};
        hmci_text_add(&copy, text, cut);
        hmci_json_t list = hmci_json_get(hmci_text_read(&copy), "a.b");
        for (hmci_json_t at = hmci_json_next(list, NULL); at != NULL; at = hmci_json_next(list, at)) {
          size_t size;
          (void)hmci_json_number(hmci_json_get(at, "c"));
          free(hmci_json_bytes(at, &size));
        }
        hmci_text_free(&copy);
        if (changed < cut) {
          text[changed] = old;
        }
      }
    }
    free(text);
  }
  size_t size;
  hmci_text_t text = {.data = NULL};
  for (const char *const *each = (const char *const[]){"\"Zm9\"", "\"Zm=v\"", "\"Z===\"", "\"Z m9\"", NULL};
       *each != NULL; each++) {
    assert_non_null(of(&text, *each));
    assert_null(hmci_json_bytes(hmci_text_read(&text), &size));
  }
  hmci_text_free(&text);
}

static int open_library(void **state) {
  (void)state;
  return hmci_json_load() == HMC_SUCCESS ? 0 : -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(members_are_found),
      cmocka_unit_test(bytes_survive),
      cmocka_unit_test(what_is_malformed_is_not_there),
  };
  return cmocka_run_group_tests(tests, open_library, NULL);
}
