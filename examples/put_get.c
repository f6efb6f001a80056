/* Puts and gets between two processes: the owner offers some memory by a name, the other one reads it and writes it. */
#include "example.h"

enum { SIZE = 64 };

static void own(void) {
  hmc_context_t *context;
  hmc_region_t *region;
  check(hmc_context_create(NULL, &context));
  check(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, SIZE, "board",
                            HMC_REMOTE_READ | HMC_REMOTE_WRITE, &region));
  char *board = hmc_region_pointer(region);
  snprintf(board, SIZE, "a question");
  example_await_the_end(example_accept(context));
  printf("the board says: %s\n", board);
  hmc_context_destroy(context);
}

static void visit(int argc, char **argv) {
  hmc_context_t *context;
  hmc_region_t *mine;
  hmc_remote_t *board;
  char text[SIZE]; /* any memory will do: it is registered for as long as the region is open */
  check(hmc_context_create(NULL, &context));
  check(hmc_region_register(context, text, SIZE, NULL, 0, &mine));
  check(hmc_remote_open(example_connect(context, argc, argv), "board", 0, &board));
  check(hmc_get(mine, 0, board, 0, SIZE));
  printf("read: %s\n", text);
  snprintf(text, SIZE, "an answer");
  check(hmc_put(mine, 0, board, 0, SIZE)); /* when it returns, the owner can read it */
  hmc_context_destroy(context);
}

int main(int argc, char **argv) {
  if (argc > 1)
    visit(argc, argv);
  else
    own();
  return 0;
}
