/* Tests of JSON as etcd's client reads and writes it. */
#include "json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static hmci_json_t of(const char *text) { return (hmci_json_t){.text = text, .size = strlen(text)}; }

static void members_are_found(void **state) {
  (void)state;
  hmci_json_t answer =
      of("{\"header\": {\"revision\":\"42\", \"deep\":{\"x\":[1,2]}}, \"s\":\"a\\\"}b\", \"ok\":true,\n"
         "\"kvs\":[{\"key\":\"Zm9v\"},{\"key\":\"YmFy\"}]}");
  assert_int_equal(hmci_json_number(hmci_json_get(answer, "header.revision")), 42);
  assert_true(hmci_json_is_true(hmci_json_get(answer, "ok")));
  assert_null(hmci_json_get(answer, "header.none").text);
  assert_null(hmci_json_get(answer, "none.revision").text);
  int count = 0;
  for (hmci_json_t at = hmci_json_next(hmci_json_get(answer, "kvs"), (hmci_json_t){NULL, 0}); at.text != NULL;
       at = hmci_json_next(hmci_json_get(answer, "kvs"), at)) {
    size_t size;
    uint8_t *key = hmci_json_bytes(hmci_json_get(at, "key"), &size);
    assert_int_equal(size, 3);
    assert_string_equal((char *)key, count++ == 0 ? "foo" : "bar");
    free(key);
  }
  assert_int_equal(count, 2);
}

static void bytes_survive(void **state) {
  (void)state;
  uint8_t sent[256];
  for (size_t size = 0; size < sizeof(sent); size++) {
    hmci_text_t text = {.data = NULL};
    sent[size] = (uint8_t)(size * 7);
    hmci_text_bytes(&text, sent, size);
    size_t got_size;
    uint8_t *got = hmci_json_bytes((hmci_json_t){text.data, text.size}, &got_size);
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
        hmci_json_t json = {text, cut}, list = hmci_json_get(json, "a.b");
        for (hmci_json_t at = hmci_json_next(list, (hmci_json_t){NULL, 0}); at.text != NULL;
             at = hmci_json_next(list, at)) {
          size_t size;
          (void)hmci_json_number(hmci_json_get(at, "c"));
          free(hmci_json_bytes(at, &size));
        }
        if (changed < cut) {
          text[changed] = old;
        }
      }
    }
    free(text);
  }
  size_t size;
  assert_null(hmci_json_bytes(of("\"Zm9\""), &size));
  assert_null(hmci_json_bytes(of("\"Zm=v\""), &size));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(members_are_found),
      cmocka_unit_test(bytes_survive),
      cmocka_unit_test(what_is_malformed_is_not_there),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
