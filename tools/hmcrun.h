/* What the files of hmcrun share. */
#ifndef HMCRUN_H
#define HMCRUN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct hmcrun_options {
  int n; /* ranks */
  bool label, bind, verbose;
  char **program; /* with its arguments, ended by NULL */
} hmcrun_options_t;

/* An exit code; the text is out when it is not TOOL_DONE. Where help is wanted, it prints that and ends the program. */
int hmcrun_parse(int argc, char **argv, hmcrun_options_t *options);

/* Binds the calling process to the core that rank `number` gets. */
void hmcrun_bind(int number);

#endif
