/* The status codes of the C++ classes and the text of the last failure. */
#ifndef HMC_CPP_STATUS_HPP
#define HMC_CPP_STATUS_HPP

#include <hmc/export.h>
#include <hmc/status.h>

#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <string>

namespace hmc {

/* The codes of hmc_status_t under their historical names, with the same values. */
enum class status_t : int {
#define HMC_CPP_STATUS_ENUM(name, value, text) name = value,
  HMC_STATUS_LIST(HMC_CPP_STATUS_ENUM)
#undef HMC_CPP_STATUS_ENUM
};

/* The name of a code ("PEER_LOST"); "UNKNOWN" for a value that is no code. Ownership: static storage. Threads: any. */
inline const char *status_to_string(status_t status) { return hmc_status_name(static_cast<hmc_status_t>(status)); }

namespace hmc_detail {

/* The text of a failure that was born in these headers; empty when the C API has the text. One for each thread. */
struct FailureText {
  char text[512];
};

inline char *failure_text() {
  static thread_local FailureText failure = {{0}};
  return failure.text;
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
inline status_t
fail(status_t status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(failure_text(), sizeof(FailureText), format, arguments);
  va_end(arguments);
  return status;
}

/* Turns what the C API answered into a status_t; its text is the one that counts from here on. */
inline status_t check(hmc_status_t status) {
  if (status != HMC_SUCCESS) failure_text()[0] = 0;
  return static_cast<status_t>(status);
}

} // namespace hmc_detail

/* What went wrong in the last call of this thread to the C++ classes that did not answer SUCCESS: the object, the cause
 * and the remedy in one line. "" when no call failed yet. Ownership: the text belongs to the thread and is overwritten
 * by its next failing call. Threads: each has its own. */
inline const char *last_error() {
  const char *text = hmc_detail::failure_text();
  return text[0] ? text : hmc_last_error();
}

} // namespace hmc
#endif
