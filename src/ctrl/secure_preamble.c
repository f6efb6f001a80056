/* Secure streams without TLS: the preamble and the proof of the secret (see secure.c), and the texts of refusals. */
#include "secure_internal.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t preamble_versions[] = {[1] = 1, [2] = 2, [3] = 1}; /* by kind */
static const uint8_t preamble_magic[HMCI_SECURE_MAGIC] = {'H', 'M', 'C', 'G'};

/* ---- texts ------------------------------------------------------------------------------------------------------- */

hmc_status_t hmci_secure_fail_lost(hmci_secure_t *stream, int error) {
  stream->broken = true;
  if (!stream->ready) {
    return hmci_fail(HMC_PEER_LOST, "%s hung up during the handshake%s%s", stream->name, error != 0 ? ": " : "",
                     error != 0 ? strerror(error) : "");
  }
  stream->error = error;
  return hmci_fail(HMC_PEER_LOST, "%s: %s", stream->name,
                   error != 0 ? hmci_socket_loss(error, strerror(error)) : "it hung up");
}

hmc_status_t hmci_secure_fail_busy(hmci_secure_t *stream) {
  stream->broken = stream->busy = true;
  return hmci_fail(HMC_PEER_LOST, "%s is busy: more connections wait there than it has room for", stream->name);
}

/* The text that the one who set up two hosts needs: which secret, and what to do. */
hmc_status_t hmci_secure_deny_secret(hmci_secure_t *stream, const char *what) {
  return hmci_fail(
      HMC_DENIED,
      "%s %s; the secret looked for here is %s. To make both ends agree, copy that secret's file to the other "
      "end, or set HMC_SECRET_FILE (or HMC_SECRET) to one secret at both ends",
      stream->name, what, stream->secret->source);
}

static const char *kind_text(unsigned kind) {
  switch (kind) {
  case HMCI_SECURE_BY_SECRET: return "authenticates by a secret";
  case HMCI_SECURE_BY_USER: return "authenticates by the user of a UNIX socket";
  case HMCI_SECURE_BY_NOTHING: return "does not authenticate (HMC_INSECURE is set there)";
  default: return "authenticates in a way unknown here";
  }
}

hmc_status_t hmci_secure_deny_kind(hmci_secure_t *stream, unsigned peer_kind) {
  return hmci_fail(HMC_DENIED, "%s %s, and this end %s: set HMC_INSECURE at both ends or at neither", stream->name,
                   kind_text(peer_kind),
                   stream->kind == HMCI_SECURE_BY_NOTHING ? "has HMC_INSECURE set" : kind_text(stream->kind));
}

hmc_status_t hmci_secure_fail_ending(hmci_secure_t *stream) {
  stream->broken = true;
  return hmci_fail(HMC_PEER_LOST, "the connection to %s is over: this process is ending, and OpenSSL has ended already",
                   stream->name);
}

/* Shows the first bytes of something that is not HMC. */
hmc_status_t hmci_secure_deny_stranger(hmci_secure_t *stream, const uint8_t *opening, size_t size) {
  char shown[HMCI_TLS_OPENING + 1];
  size_t length = size < HMCI_TLS_OPENING ? size : HMCI_TLS_OPENING;
  for (size_t i = 0; i < length; i++) {
    shown[i] = isprint(opening[i]) ? (char)opening[i] : '.';
  }
  shown[length] = '\0';
  return hmci_fail(HMC_DENIED, "%s is not HMC: it begins with \"%s\"", stream->name, shown);
}

/* ---- the preamble ------------------------------------------------------------------------------------------------ */

bool hmci_secure_is_preamble(const uint8_t *bytes, size_t size) {
  return size >= sizeof(preamble_magic) && memcmp(bytes, preamble_magic, sizeof(preamble_magic)) == 0;
}

bool hmci_secure_is_tls(const uint8_t *bytes, size_t size) {
  return size >= 2 && (bytes[0] == SSL3_RT_HANDSHAKE || bytes[0] == SSL3_RT_ALERT) && bytes[1] == SSL3_VERSION_MAJOR;
}

void hmci_secure_make_preamble(uint8_t bytes[HMCI_SECURE_PREAMBLE], hmci_secure_kind_t kind,
                               hmci_secure_answer_t answer) {
  memset(bytes, 0, HMCI_SECURE_PREAMBLE);
  memcpy(bytes, preamble_magic, sizeof(preamble_magic));
  bytes[4] = preamble_versions[kind];
  bytes[5] = (uint8_t)kind;
  bytes[6] = (uint8_t)answer;
  hmci_store32(bytes + 8, (uint32_t)geteuid());
}

/* Tells an end of another kind what it met; it has a socket buffer free for that. What it sent is taken out, because
 * closing a socket with unread bytes may discard the answer; but no more than an HMC sends, because a stranger can send
 * faster than this end reads, without end. */
void hmci_secure_answer_other_kind(hmci_secure_t *stream) {
  uint8_t preamble[HMCI_SECURE_PREAMBLE], rest[256];
  hmci_secure_make_preamble(preamble, stream->kind, HMCI_ANSWER_OTHER_KIND);
  for (size_t taken = 0; taken < HMCI_TLS_HANDSHAKE_LIMIT; taken += sizeof(rest)) {
    if (recv(stream->descriptor, rest, sizeof(rest), MSG_DONTWAIT) != (ssize_t)sizeof(rest)) {
      break;
    }
  }
  ssize_t sent = send(stream->descriptor, preamble, HMCI_SECURE_PREAMBLE, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)sent; /* it will see the end of the stream in any case */
}

/* Only the same user, or root, may be at the other end. */
void hmci_secure_look_at_user(hmci_secure_t *stream) {
  struct ucred credentials;
  socklen_t size = sizeof(credentials);
  if (getsockopt(stream->descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    credentials.uid = (uid_t)-1;
  }
  stream->user = credentials.uid;
  if (stream->user != geteuid() && stream->user != 0) {
    stream->answer = HMCI_ANSWER_OTHER_USER;
  }
}

static hmc_status_t judge_preamble(hmci_secure_t *stream) {
  if (stream->in[6] == HMCI_ANSWER_BUSY) {
    return hmci_secure_fail_busy(stream);
  }
  if (stream->in[5] != (uint8_t)stream->kind) {
    return hmci_secure_deny_kind(stream, stream->in[5]);
  }
  if (stream->in[4] != preamble_versions[stream->kind]) {
    return hmci_fail(HMC_DENIED, "%s speaks version %u of the greeting, this end version %u: use one HMC at both ends",
                     stream->name, stream->in[4], preamble_versions[stream->kind]);
  }
  if (stream->answer == HMCI_ANSWER_OTHER_USER) {
    return hmci_fail(HMC_DENIED, "%s belongs to user %u; on a UNIX socket only user %u and root are let in",
                     stream->name, (unsigned)stream->user, (unsigned)geteuid());
  }
  if (stream->in[6] != HMCI_ANSWER_WELCOME) {
    return hmci_fail(HMC_DENIED, "%s, a process of user %u, does not let user %u in", stream->name,
                     (unsigned)hmci_load32(stream->in + 8), (unsigned)geteuid());
  }
  stream->judged = true;
  return HMC_SUCCESS;
}

/* What one end proves the secret with: who it is, and what both chose. */
static hmc_status_t make_proof(const hmci_secure_t *stream, bool of_client, uint8_t proof[HMCI_DIGEST]) {
  bool is_client = stream->role == HMCI_SECURE_CLIENT;
  uint8_t said[16 + 2 * HMCI_SECURE_NONCE] = {0};
  memcpy(said, of_client ? "HMC unix client" : "HMC unix server", 15);
  memcpy(said + 16, (is_client ? stream->out : stream->in) + HMCI_SECURE_PREAMBLE, HMCI_SECURE_NONCE);
  memcpy(said + 16 + HMCI_SECURE_NONCE, (is_client ? stream->in : stream->out) + HMCI_SECURE_PREAMBLE,
         HMCI_SECURE_NONCE);
  return hmci_digest(stream->secret->key, said, sizeof(said), proof);
}

/* All that was waited for has come: goes on with the proof, or ends. */
static hmc_status_t go_on(hmci_secure_t *stream) {
  uint8_t due[HMCI_DIGEST];
  bool is_client = stream->role == HMCI_SECURE_CLIENT;
  if (stream->kind != HMCI_SECURE_BY_USER || stream->in_end == HMCI_SECURE_PROVED) {
    stream->ready = true;
  }
  if (stream->kind != HMCI_SECURE_BY_USER) {
    return HMC_SUCCESS;
  }
  hmc_status_t status = make_proof(stream, stream->ready ? !is_client : is_client, due);
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (!stream->ready) {
    memcpy(stream->out + HMCI_SECURE_PREAMBLE + HMCI_SECURE_NONCE, due, sizeof(due));
    stream->out_end = stream->in_end = HMCI_SECURE_PROVED;
    return HMC_SUCCESS;
  }
  if (hmci_digest_is_equal(due, stream->in + HMCI_SECURE_PREAMBLE + HMCI_SECURE_NONCE)) {
    return HMC_SUCCESS;
  }
  stream->ready = false;
  return hmci_secure_deny_secret(stream, "has another secret");
}

/* What has come so far cannot become a preamble. */
static hmc_status_t refuse_opening(hmci_secure_t *stream) {
  if (!hmci_secure_is_tls(stream->in, stream->in_size)) {
    return hmci_secure_deny_stranger(stream, stream->in, stream->in_size);
  }
  hmci_secure_answer_other_kind(stream);
  return hmci_secure_deny_kind(stream, HMCI_SECURE_BY_SECRET);
}

/* Says what is to be said, and hears what is there. */
static hmc_status_t talk(hmci_secure_t *stream, short *events) {
  if (stream->out_size < stream->out_end) {
    ssize_t sent = send(stream->descriptor, stream->out + stream->out_size, stream->out_end - stream->out_size,
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      /* It may have said why before it hung up: what it sent is looked at below. */
      stream->out_size = stream->out_end;
    }
    stream->out_size += sent > 0 ? (size_t)sent : 0;
  }
  while (stream->in_size < stream->in_end) {
    size_t wanted = (stream->judged ? stream->in_end : HMCI_SECURE_PREAMBLE) - stream->in_size;
    ssize_t got = recv(stream->descriptor, stream->in + stream->in_size, wanted, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0 && errno == EAGAIN) {
      *events = stream->out_size < stream->out_end ? POLLIN | POLLOUT : POLLIN;
      return HMC_IN_PROGRESS;
    }
    if (got <= 0) {
      return hmci_secure_fail_lost(stream, got < 0 ? errno : 0);
    }
    stream->in_size += (size_t)got;
    size_t compared = stream->in_size < sizeof(preamble_magic) ? stream->in_size : sizeof(preamble_magic);
    if (memcmp(stream->in, preamble_magic, compared) != 0) {
      return refuse_opening(stream);
    }
    if (stream->in_size >= HMCI_SECURE_PREAMBLE && !stream->judged) {
      hmc_status_t status = judge_preamble(stream);
      if (status != HMC_SUCCESS) {
        return status;
      }
    }
  }
  if (stream->out_size < stream->out_end) {
    *events = POLLOUT;
    return HMC_IN_PROGRESS;
  }
  return HMC_SUCCESS;
}

hmc_status_t hmci_secure_exchange(hmci_secure_t *stream, short *events) {
  while (!stream->ready) {
    hmc_status_t status = talk(stream, events);
    if (status == HMC_SUCCESS) {
      status = go_on(stream);
    }
    if (status != HMC_SUCCESS) {
      return status;
    }
  }
  return HMC_SUCCESS;
}
