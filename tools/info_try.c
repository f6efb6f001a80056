/* hmc-info --try: makes a connection and shows how it goes, with what it takes: devices, queue pairs, pinned memory. */
#include "info.h"
#include "options.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>

enum { TRIED_BYTES = 1 << 20 };

typedef struct trial {
  hmc_context_t *near, *far; /* `far`: NULL where the other end is another process */
  hmc_region_t *from;
  hmc_peer_t *peer;
} trial_t;

static const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};

/* The other end is a context of this process, and some bytes go there, so that what they take is counted. */
static hmc_status_t try_self(trial_t *trial, hmc_connection_type_t type) {
  uint16_t port = 0;
  hmc_region_t *to = NULL;
  hmc_remote_t *remote = NULL;
  hmc_status_t status = hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = "hmc-info's other end"}, &trial->far);
  if (status == HMC_SUCCESS) status = hmc_context_listen(trial->far, "127.0.0.1", 0, &port);
  if (status == HMC_SUCCESS) status = hmc_region_allocate(trial->far, cpu, TRIED_BYTES, "tried", HMC_REMOTE_ALL, &to);
  if (status == HMC_SUCCESS) status = hmc_context_connect(trial->near, "127.0.0.1", port, type, 0, &trial->peer);
  if (status == HMC_SUCCESS) status = hmc_remote_open(trial->peer, "tried", 0, &remote);
  if (status == HMC_SUCCESS) status = hmc_put(trial->from, 0, remote, 0, TRIED_BYTES);
  return status;
}

static int show(hmc_peer_t *peer) {
  size_t size = 0;
  HMC_IGNORE(hmc_peer_explain(peer, NULL, 0, &size));
  char *text = malloc(size + 1024), *rest = text;
  if (!text) return tool_fail("no memory");
  HMC_IGNORE(hmc_peer_explain(peer, text, size + 1024, NULL));
  for (char *line; (line = strsep(&rest, "\n")) && (rest || *line);) {
    int indent = (int)strspn(line, " ");
    printf("%*s", indent, "");
    tool_wrap(stdout, line + indent, indent, indent + 4, tool_columns());
    printf("\n");
  }
  free(text);
  return TOOL_DONE;
}

int info_try(hmc_connection_type_t type, const char *where) {
  trial_t trial = {0};
  if (where && !strchr(where, ':')) return tool_usage_error("'%s': HOST:PORT is expected, as in node7:2025", where);
  if (!where && !tool_make_secret()) return TOOL_FAILED;
  hmc_status_t status = hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = "hmc-info"}, &trial.near);
  if (status == HMC_SUCCESS) status = hmc_region_allocate(trial.near, cpu, TRIED_BYTES, NULL, 0, &trial.from);
  if (status == HMC_SUCCESS)
    status = where ? hmc_context_connect(trial.near, where, 0, type, 0, &trial.peer) : try_self(&trial, type);
  int code = status == HMC_SUCCESS ? show(trial.peer) : tool_fail_hmc(hmc_connection_type_name(type), status);
  hmc_context_destroy(trial.near);
  hmc_context_destroy(trial.far);
  return code;
}
