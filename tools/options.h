/* One table of a tool's options makes all that names them: the parser, --help, the manual page (--help-man) and the
 * completion of shells (--completion bash, zsh or fish).
 *
 * Threads: main only. */
#ifndef HMC_TOOL_OPTIONS_H
#define HMC_TOOL_OPTIONS_H

#include "tool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A row is an option; or, without a name, a heading over those that follow. An option without help is taken, and not
 * shown. The last row has neither name nor help. */
typedef struct tool_option {
  int letter; /* what tool_options_next answers; above 255: it has no short form */
  const char *name;
  const char *argument; /* what it takes, for people: "N"; NULL: nothing */
  const char *words;    /* the words that it takes, for the completion: "put get"; NULL: any */
  const char *help;
} tool_option_t;

/* What only the manual page has: a row begins a section, or belongs to the one before it; a term stands beside its text.
 * The last row has no text. */
typedef struct tool_section {
  const char *heading, *term, *text;
} tool_section_t;

typedef struct tool_usage {
  const char *program, *purpose;  /* "hmc-doctor", "find what is wrong here" */
  const char *const *synopses;    /* behind the program's name; ended by NULL */
  const char *description;        /* paragraphs, ended by '\n' */
  const tool_option_t *options;   /* help and version are added by themselves */
  const char *const *examples;    /* lines, ended by NULL */
  const char *notes;              /* exit codes and the like; NULL: none */
  const tool_section_t *sections; /* NULL: none */
  bool stops_at_words;            /* options end where the first other word stands: it brings options of its own */
  bool single_dash;               /* long options are taken behind one dash too: -np 4 */
} tool_usage_t;

enum { TOOL_OPTIONS_END = -1, TOOL_OPTIONS_DONE = -2, TOOL_OPTIONS_WRONG = -3 };

/* The letter of the next option, whose value is in `optarg`; TOOL_OPTIONS_END: the arguments at `optind` are left;
 * TOOL_OPTIONS_DONE: it was --help or one of its kind, which are printed; TOOL_OPTIONS_WRONG: the text is out. */
int tool_options_next(const tool_usage_t *usage, int count, char **arguments);

/* Prints `text` from column `indent` on, broken at blanks before `width`. The first line stands where the cursor is,
 * which has to be at `at`. */
void tool_wrap(FILE *file, const char *text, int at, int indent, int width);

/* The columns of stdout where it is a terminal, at least 60 and at most 160; elsewhere 80. */
int tool_columns(void);

/* What begins and ends a colour on stdout; "" where it is not a terminal, or NO_COLOR is set. */
typedef enum tool_color { TOOL_PLAIN, TOOL_BOLD, TOOL_DIM, TOOL_GREEN, TOOL_YELLOW, TOOL_RED } tool_color_t;
const char *tool_color(tool_color_t color);

#ifdef __cplusplus
}
#endif

#endif
