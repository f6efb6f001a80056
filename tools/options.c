/* See options.h. */
#include "options.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { OPTIONS_MOST = 64, HELP_COLUMN = 26, OWN_MAN = 1000, OWN_COMPLETION };

/* ---- the screen -------------------------------------------------------------------------------------------------- */

int tool_columns(void) {
  struct winsize size;
  if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col < 60 ? 60 : size.ws_col > 160 ? 160 : size.ws_col;
}

const char *tool_color(tool_color_t color) {
  static const char *const codes[] = {"\033[0m", "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[31m"};
  const char *never = getenv("NO_COLOR"), *terminal = getenv("TERM");
  if (!isatty(STDOUT_FILENO) || (never && *never) || (terminal && strcmp(terminal, "dumb") == 0)) return "";
  return codes[color];
}

void tool_wrap(FILE *file, const char *text, int at, int indent, int width) {
  while (*text) {
    size_t room = width > at ? (size_t)(width - at) : 1, length = strcspn(text, "\n");
    bool breaks = length > room;
    if (breaks) {
      length = room;
      while (length > 0 && text[length] != ' ') length--;
      if (length == 0) length = strcspn(text, " \n");
    }
    fprintf(file, "%.*s", (int)length, text);
    text += length;
    if (strncmp(text, "\n\n", 2) == 0) fputc('\n', file); /* a paragraph ends */
    while (*text == ' ' || *text == '\n') text++;
    if (*text) fprintf(file, "\n%*s", indent, "");
    at = indent;
  }
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const tool_option_t own[] = {
    {'h', "help", NULL, NULL, "this text"},
    {'V', "version", NULL, NULL, "the version"},
    {OWN_COMPLETION, "completion", "SHELL", "bash zsh fish", "print what makes SHELL complete these options"},
    {OWN_MAN, "help-man", NULL, NULL, NULL},
    {0, NULL, NULL, NULL, NULL},
};

/* Calls `visit` for all rows that are to be shown, the tool's first. */
typedef void visit_t(const tool_option_t *option, void *user);
static void each(const tool_usage_t *usage, visit_t *visit, void *user) {
  for (const tool_option_t *option = usage->options; option->name || option->help; option++) {
    if (option->help) visit(option, user);
  }
  for (const tool_option_t *option = own; option->name; option++) {
    if (option->help) visit(option, user);
  }
}

/* ---- for people -------------------------------------------------------------------------------------------------- */

static void help_row(const tool_option_t *option, void *user) {
  int width = *(int *)user, at = 0;
  if (!option->name) {
    printf("\n%s%s%s\n", tool_color(TOOL_BOLD), option->help, tool_color(TOOL_PLAIN));
    return;
  }
  if (option->letter < 256) at = printf("  -%c, ", option->letter);
  if (option->letter >= 256) at = printf("      ");
  at += printf("--%s", option->name);
  if (option->argument) at += printf(" %s", option->argument);
  if (at > HELP_COLUMN - 2) at = printf("\n") - 1;
  at += printf("%*s", HELP_COLUMN - at, "");
  tool_wrap(stdout, option->help, at, HELP_COLUMN, width);
  printf("\n");
}

static void show_help(const tool_usage_t *usage) {
  int width = tool_columns();
  for (size_t i = 0; usage->synopses[i]; i++)
    printf("%s %s %s\n", i ? "      " : "Usage:", usage->program, usage->synopses[i]);
  tool_wrap(stdout, usage->description, 0, 0, width);
  printf(usage->options->name ? "\n\n" : "\n"); /* a heading brings its own empty line */
  each(usage, help_row, &width);
  if (usage->examples) printf("\n%sExamples:%s\n", tool_color(TOOL_BOLD), tool_color(TOOL_PLAIN));
  for (size_t i = 0; usage->examples && usage->examples[i]; i++) printf("  %s\n", usage->examples[i]);
  if (!usage->notes) return;
  printf("\n");
  tool_wrap(stdout, usage->notes, 0, 0, width);
  printf("\n");
}

/* ---- for man ----------------------------------------------------------------------------------------------------- */

/* Text in roff: hyphens of options stay hyphens, an empty line begins a paragraph, and no line begins with a request. */
static void man_text(const char *text) {
  bool begins = true;
  for (; *text; text++) {
    if (strncmp(text, "\n\n", 2) == 0) {
      fputs("\n.PP", stdout);
      continue;
    }
    if (begins && (*text == '.' || *text == '\'')) fputs("\\&", stdout);
    begins = *text == '\n';
    if (*text == '-')
      fputs("\\-", stdout);
    else if (*text == '\\')
      fputs("\\e", stdout);
    else
      fputc(*text, stdout);
  }
}

static void man_row(const tool_option_t *option, void *user) {
  (void)user;
  if (!option->name) {
    printf(".SS ");
    man_text(option->help);
    printf("\n");
    return;
  }
  printf(".TP\n");
  if (option->letter < 256) printf(".BR \\-%c \", \" \\-\\-", option->letter);
  if (option->letter >= 256) printf(".BR \\-\\-");
  man_text(option->name);
  if (option->argument) printf(" \" %s\"", option->argument);
  printf("\n");
  man_text(option->help);
  printf("\n");
}

/* The page of "hmc-perf pool" is hmc-perf-pool. */
static void man_title(const tool_usage_t *usage) {
  printf(".TH ");
  for (const char *c = usage->program; *c; c++) putchar(*c == ' ' ? '-' : toupper((unsigned char)*c));
  printf(" 1 \"\" \"HMC\" \"User Commands\"\n.SH NAME\n");
  for (const char *c = usage->program; *c; c++) putchar(*c == ' ' ? '-' : *c);
  printf(" \\- ");
  man_text(usage->purpose);
}

static void man_sections(const tool_section_t *section) {
  for (; section && section->text; section++) {
    if (section->heading) printf(".SH %s\n", section->heading);
    if (section->term) {
      printf(".TP\n.B ");
      man_text(section->term);
      printf("\n");
    } else if (!section->heading) {
      printf(".PP\n");
    }
    man_text(section->text);
    printf("\n");
  }
}

static void show_man(const tool_usage_t *usage) {
  man_title(usage);
  printf("\n.SH SYNOPSIS\n.nf\n");
  for (size_t i = 0; usage->synopses[i]; i++) {
    printf("\\fB%s\\fR ", usage->program);
    man_text(usage->synopses[i]);
    printf("\n");
  }
  printf(".fi\n.SH DESCRIPTION\n");
  man_text(usage->description + strspn(usage->description, "\n"));
  printf("\n.SH OPTIONS\n");
  each(usage, man_row, NULL);
  man_sections(usage->sections);
  if (usage->examples) printf(".SH EXAMPLES\n.nf\n");
  for (size_t i = 0; usage->examples && usage->examples[i]; i++) {
    man_text(usage->examples[i]);
    printf("\n");
  }
  if (usage->examples) printf(".fi\n");
  if (usage->notes) printf(".SH NOTES\n");
  if (usage->notes) man_text(usage->notes);
  if (usage->notes) printf("\n");
}

/* ---- for shells -------------------------------------------------------------------------------------------------- */

static void bash_name(const tool_option_t *option, void *user) {
  (void)user;
  if (option->name) printf(" --%s", option->name);
}

static void bash_words(const tool_option_t *option, void *user) {
  (void)user;
  if (!option->name || !option->words) return;
  printf("    --%s", option->name);
  if (option->letter < 256) printf("|-%c", option->letter);
  printf(") COMPREPLY=($(compgen -W '%s' -- \"$word\")); return ;;\n", option->words);
}

static void show_bash(const tool_usage_t *usage) {
  printf("_%s() {\n  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n  case $before in\n",
         usage->program);
  each(usage, bash_words, NULL);
  printf("  esac\n  COMPREPLY=($(compgen -W '");
  each(usage, bash_name, NULL);
  printf("' -- \"$word\"))\n}\ncomplete -o default -F _%s %s\n", usage->program, usage->program);
}

static void zsh_row(const tool_option_t *option, void *user) {
  (void)user;
  if (!option->name) return;
  printf(" \\\n  '--%s[", option->name);
  for (const char *c = option->help; *c; c++) {
    if (*c == '\'')
      fputs("'\\''", stdout);
    else if (*c == '[' || *c == ']')
      printf("\\%c", *c);
    else
      putchar(*c == '\n' ? ' ' : *c);
  }
  printf("]");
  if (option->argument) printf(":%s:", option->argument);
  if (option->words) printf("(%s)", option->words);
  printf("'");
}

static void fish_row(const tool_option_t *option, void *user) {
  if (!option->name) return;
  printf("complete -c %s -l %s", (const char *)user, option->name);
  if (option->letter < 256) printf(" -s %c", option->letter);
  if (option->argument) printf(" -x");
  if (option->words) printf(" -a '%s'", option->words);
  printf("\n");
}

static int show_completion(const tool_usage_t *usage, const char *shell) {
  if (strcmp(shell, "bash") == 0) {
    show_bash(usage);
  } else if (strcmp(shell, "zsh") == 0) {
    printf("#compdef %s\n_arguments", usage->program);
    each(usage, zsh_row, NULL);
    printf("\n");
  } else if (strcmp(shell, "fish") == 0) {
    each(usage, fish_row, (void *)(uintptr_t)usage->program);
  } else {
    tool_usage_error("--completion '%s': bash, zsh or fish is expected", shell);
    return TOOL_OPTIONS_WRONG;
  }
  return TOOL_OPTIONS_DONE;
}

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

/* Appends what getopt_long needs. */
static size_t add_rows(const tool_option_t *rows, struct option *options, size_t count, char *letters, size_t *used) {
  for (const tool_option_t *row = rows; (row->name || row->help) && count < OPTIONS_MOST; row++) {
    if (!row->name) continue;
    options[count++] = (struct option){row->name, row->argument ? required_argument : no_argument, NULL, row->letter};
    if (row->letter >= 256) continue;
    letters[(*used)++] = (char)row->letter;
    if (row->argument) letters[(*used)++] = ':';
  }
  return count;
}

int tool_options_next(const tool_usage_t *usage, int count, char **arguments) {
  static struct option options[OPTIONS_MOST + 1];
  static char letters[2 * OPTIONS_MOST + 3];
  if (!options[0].name) {
    size_t used = (size_t)sprintf(letters, usage->stops_at_words ? "+:" : ":"),
           rows = add_rows(usage->options, options, 0, letters, &used);
    add_rows(own, options, rows, letters, &used);
  }
  opterr = 0;
  int letter = (usage->single_dash ? getopt_long_only : getopt_long)(count, arguments, letters, options, NULL);
  switch (letter) {
  case 'h': show_help(usage); return TOOL_OPTIONS_DONE;
  case 'V': puts(hmc_version_text()); return TOOL_OPTIONS_DONE;
  case OWN_MAN: show_man(usage); return TOOL_OPTIONS_DONE;
  case OWN_COMPLETION: return show_completion(usage, optarg);
  case '?':
  case ':': tool_option_error(letter, arguments, options); return TOOL_OPTIONS_WRONG;
  default: return letter;
  }
}
