/* hmc-perf --plot: bandwidth and latency over the size of an operation, as one picture: SVG, or PNG, which rsvg-convert
 * makes of it.
 *
 * Both axes are logarithmic, since both span decades. A picture holds the lines of one run, or of all modes
 * (--mode all), and those of the run that --compare names, dashed. */
#include "perf.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  SERIES_MOST = 12,
  POINTS_MOST = PERF_SIZES_MAX,
  WIDTH = 1040,
  HEIGHT = 460,
  LEFT = 70,
  TOP = 70,
  PANEL = 420,
  TALL = 300,
  GAP = 510
};

typedef struct point {
  double bytes, gbytes, median_us;
} point_t;

typedef struct series {
  char name[64];
  bool former;
  size_t count;
  point_t points[POINTS_MOST];
} series_t;

static series_t all[SERIES_MOST];
static size_t series_count;

static const char *const colors[] = {"#0b6fa4", "#d1495b", "#2e933c", "#8f5fbf", "#e08e1b", "#3c4f65"};

void perf_plot_add(const char *name, bool former, const perf_result_t *result) {
  series_t *series = NULL;
  for (size_t i = 0; i < series_count && !series; i++)
    if (strcmp(all[i].name, name) == 0 && all[i].former == former) series = &all[i];
  if (!series && series_count < SERIES_MOST) {
    series = &all[series_count++];
    snprintf(series->name, sizeof series->name, "%s", name);
    series->former = former;
  }
  if (!series || series->count == POINTS_MOST) return;
  series->points[series->count++] =
      (point_t){(double)result->bytes, (double)result->operations * (double)result->bytes / result->seconds / 1e9,
                result->median_us};
}

/* One of the two panels: what it shows, and the decades of its axis. */
typedef struct panel {
  const char *title;
  bool latency;
  double x, low, high; /* low and high: exponents of ten */
  double left, right;  /* exponents of two */
} panel_t;

static double value_of(const point_t *point, bool latency) { return latency ? point->median_us : point->gbytes; }

static void find_ranges(panel_t *panel) {
  double low = 1e30, high = 1e-30, left = 1e30, right = 1;
  for (size_t i = 0; i < series_count; i++)
    for (size_t k = 0; k < all[i].count; k++) {
      double value = value_of(&all[i].points[k], panel->latency), bytes = all[i].points[k].bytes;
      if (value > 0) low = fmin(low, value), high = fmax(high, value);
      left = fmin(left, bytes), right = fmax(right, bytes);
    }
  if (low > high) low = high = 1;
  panel->low = floor(log10(low));
  panel->high = ceil(log10(high));
  if (panel->high <= panel->low) panel->high = panel->low + 1;
  panel->left = floor(log2(left));
  panel->right = ceil(log2(right));
  if (panel->right <= panel->left) panel->right = panel->left + 1;
}

static double x_of(const panel_t *panel, double bytes) {
  return panel->x + PANEL * (log2(bytes) - panel->left) / (panel->right - panel->left);
}

static double y_of(const panel_t *panel, double value) {
  return TOP + TALL - TALL * (log10(value) - panel->low) / (panel->high - panel->low);
}

/* A power of ten in the unit that keeps it between 1 and 999. */
static void format_tick(char *text, size_t size, double value, bool latency) {
  static const char *const times[] = {"ns", "us", "ms", "s"}, *const rates[] = {"kB/s", "MB/s", "GB/s", "TB/s"};
  double scaled = value * (latency ? 1e3 : 1e6);
  size_t unit = 0;
  for (; scaled >= 999.5 && unit < 3; unit++) scaled /= 1e3;
  snprintf(text, size, "%g %s", scaled, (latency ? times : rates)[unit]);
}

static void draw_axes(FILE *file, const panel_t *panel) {
  fprintf(file, "<text x=\"%.0f\" y=\"%d\" class=\"title\">%s</text>\n", panel->x, TOP - 18, panel->title);
  for (int i = 0; panel->low + i <= panel->high; i++) {
    double e = panel->low + i, y = y_of(panel, pow(10, e));
    char tick[32];
    format_tick(tick, sizeof tick, pow(10, e), panel->latency);
    fprintf(file, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>\n", panel->x, y,
            panel->x + PANEL, y);
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" class=\"tick\" text-anchor=\"end\">%s</text>\n", panel->x - 8, y + 4,
            tick);
  }
  double step = ceil((panel->right - panel->left) / 8);
  for (int i = 0; panel->left + i * step <= panel->right; i++) {
    double e = panel->left + i * step;
    char size[32];
    tool_format_bytes((uint64_t)pow(2, e), size, sizeof size);
    double x = x_of(panel, pow(2, e));
    fprintf(file, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" class=\"grid\"/>\n", x, TOP, x, TOP + TALL);
    fprintf(file, "<text x=\"%.1f\" y=\"%d\" class=\"tick\" text-anchor=\"middle\">%s</text>\n", x, TOP + TALL + 20,
            size);
  }
}

static void draw_lines(FILE *file, const panel_t *panel) {
  for (size_t i = 0; i < series_count; i++) {
    const char *color = colors[i % (sizeof colors / sizeof *colors)];
    fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2.5\" stroke-linejoin=\"round\"%s points=\"",
            color, all[i].former ? " stroke-dasharray=\"6 5\" opacity=\"0.7\"" : "");
    for (size_t k = 0; k < all[i].count; k++) {
      double value = value_of(&all[i].points[k], panel->latency);
      if (value > 0) fprintf(file, "%.1f,%.1f ", x_of(panel, all[i].points[k].bytes), y_of(panel, value));
    }
    fprintf(file, "\"/>\n");
    for (size_t k = 0; k < all[i].count; k++) {
      double value = value_of(&all[i].points[k], panel->latency);
      if (value > 0)
        fprintf(file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\" fill=\"%s\"/>\n", x_of(panel, all[i].points[k].bytes),
                y_of(panel, value), color);
    }
  }
}

static void draw_legend(FILE *file) {
  double x = LEFT;
  for (size_t i = 0; i < series_count; i++) {
    const char *color = colors[i % (sizeof colors / sizeof *colors)];
    fprintf(file, "<line x1=\"%.0f\" y1=\"%d\" x2=\"%.0f\" y2=\"%d\" stroke=\"%s\" stroke-width=\"3\"%s/>\n", x,
            HEIGHT - 28, x + 26, HEIGHT - 28, color, all[i].former ? " stroke-dasharray=\"6 5\"" : "");
    fprintf(file, "<text x=\"%.0f\" y=\"%d\" class=\"name\">%s%s</text>\n", x + 34, HEIGHT - 24, all[i].name,
            all[i].former ? " (before)" : "");
    x += 60 + 7.5 * (double)(strlen(all[i].name) + (all[i].former ? 9 : 0));
  }
}

static void draw(FILE *file) {
  bool has_latency = false;
  for (size_t i = 0; i < series_count; i++) has_latency |= all[i].count && all[i].points[0].median_us > 0;
  fprintf(file,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n"
          "<style>text{font-family:system-ui,sans-serif;fill:#24303c}.title{font-size:16px;font-weight:600}"
          ".tick{font-size:11px;fill:#5b6875}.name{font-size:13px}.grid{stroke:#e3e8ed;stroke-width:1}</style>\n"
          "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
          has_latency ? WIDTH : GAP + 30, HEIGHT, has_latency ? WIDTH : GAP + 30, HEIGHT);
  panel_t panels[] = {{.title = "Bandwidth over size of operation", .x = LEFT},
                      {.title = "Latency (median) over size of operation", .latency = true, .x = LEFT + GAP}};
  for (int i = 0; i < 1 + has_latency; i++) {
    find_ranges(&panels[i]);
    draw_axes(file, &panels[i]);
    draw_lines(file, &panels[i]);
  }
  draw_legend(file);
  fprintf(file, "</svg>\n");
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *path, const char *end) {
  size_t length = strlen(path), tail = strlen(end);
  return length > tail && strcmp(path + length - tail, end) == 0;
}

static bool is_in_path(const char *program) {
  const char *path = getenv("PATH");
  for (const char *at = path ? path : ""; *at; at += strcspn(at, ":"), at += *at == ':') {
    char file[4096];
    snprintf(file, sizeof file, "%.*s/%s", (int)strcspn(at, ":"), at, program);
    if (access(file, X_OK) == 0) return true;
  }
  return false;
}

/* Whether a file can be made or written there; else says why not. */
static bool is_writable(const char *path) {
  const char *slash = strrchr(path, '/');
  char folder[4096] = ".";
  if (slash) snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
  if (access(access(path, F_OK) == 0 ? path : folder, W_OK) == 0) return true;
  tool_usage_error("--plot '%s': it cannot be written: %s", path, strerror(errno));
  return false;
}

bool perf_plot_check(const char *path) {
  if (!ends_with(path, ".svg") && !ends_with(path, ".png")) {
    tool_usage_error("--plot '%s': a file whose name ends in .svg or .png is expected", path);
    return false;
  }
  if (!is_writable(path)) return false; /* to say so after the measurement would cost the user's minutes */
  if (ends_with(path, ".svg") || is_in_path("rsvg-convert")) return true;
  tool_usage_error("--plot '%s': rsvg-convert, which makes PNG, is not installed (Debian, Ubuntu: librsvg2-bin); or "
                   "say .svg",
                   path);
  return false;
}

/* Twice as large as it is drawn, for screens with many dots. */
static int convert(int picture, const char *path) {
  extern char **environ;
  char *words[] = {"rsvg-convert", "--zoom=2", "--output", (char *)path, NULL};
  posix_spawn_file_actions_t actions;
  pid_t child;
  int status = -1;
  if (posix_spawn_file_actions_init(&actions) != 0) return -1;
  posix_spawn_file_actions_adddup2(&actions, picture, STDIN_FILENO);
  if (posix_spawnp(&child, words[0], &actions, NULL, words, environ) == 0) waitpid(child, &status, 0);
  posix_spawn_file_actions_destroy(&actions);
  return status;
}

int perf_plot_write(const char *path) {
  bool as_png = ends_with(path, ".png");
  FILE *file = as_png ? tmpfile() : fopen(path, "we");
  if (!file) return tool_fail("--plot %s: it cannot be written: %s", path, strerror(errno));
  draw(file);
  bool bad = fflush(file) != 0 || ferror(file);
  rewind(file);
  bad = bad || (as_png && convert(fileno(file), path) != 0);
  bad |= fclose(file) != 0;
  return bad ? tool_fail("--plot %s: it could not be written", path) : TOOL_DONE;
}
