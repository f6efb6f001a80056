/* The status codes of the C++ classes and the text of the last failure.
 *
 * Programs written for HMC know six codes, and compare with some of them. So what the classes answer is one of the six;
 * the finer code of the same failure is asked for by last_status(), and its text by last_error(). */
#ifndef HMC_CPP_STATUS_HPP
#define HMC_CPP_STATUS_HPP

#include <hmc/export.h>
#include <hmc/state.h>
#include <hmc/status.h>

#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <string>

namespace hmc {
inline namespace v0 {

/* The codes of hmc_status_t under their historical names, with the same values. */
enum class HMC_CHECKED_TYPE status_t : int {
#define HMC_CPP_STATUS_ENUM(name, value, text) name = value,
  HMC_STATUS_LIST(HMC_CPP_STATUS_ENUM)
#undef HMC_CPP_STATUS_ENUM
};

/* A code for people, in the words that HMC has always had for the six; the name of a finer one ("PEER_LOST"); "Unknown
 * Status" for any other value. Ownership: static storage. Threads: any. */
inline const char *status_to_string(status_t status) {
  switch (status) {
  case status_t::SUCCESS: return "Succeeded";
  case status_t::ERROR: return "Error";
  case status_t::UNSUPPORT: return "Unsupported";
  case status_t::INVALID_CONFIG: return "Invalid Config";
  case status_t::TIMEOUT: return "Timeout";
  case status_t::NOT_FOUND: return "Not Found";
  default: break;
  }
  const char *name = hmc_status_name(static_cast<hmc_status_t>(status));
  return name[0] == 'U' && name[1] == 'N' && name[2] == 'K' ? "Unknown Status" : name;
}

namespace hmc_detail {

/* The text of a failure that was born in these headers; empty when the C API has the text. One for each thread. */
inline char *failure_text() { return hmc_state_of_thread()->text; }

/* The code of the last failure of this thread, as fine as it was known. */
inline status_t failure_status() { return static_cast<status_t>(hmc_state_of_thread()->status); }

/* What a program hears of a status: a finer one is an ERROR to those who know six. */
inline status_t answer(status_t status) {
  return static_cast<int>(status) <= static_cast<int>(status_t::NOT_FOUND) ? status : status_t::ERROR;
}

/* The same where the first HMC answered ERROR, whatever it was. */
inline status_t answer_error(status_t status) { return status == status_t::SUCCESS ? status : status_t::ERROR; }

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
inline status_t
fail(status_t status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(failure_text(), sizeof hmc_state_of_thread()->text, format, arguments);
  va_end(arguments);
  hmc_state_of_thread()->status = static_cast<int>(status);
  return status;
}

/* Turns what the C API answered into a status_t; its text is the one that counts from here on. */
inline status_t check(hmc_status_t status) {
  if (status != HMC_SUCCESS) {
    failure_text()[0] = 0;
    hmc_state_of_thread()->status = static_cast<int>(status);
  }
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

/* The code of that failure, as fine as it is known: PEER_LOST, OUT_OF_RANGE ... where the call answered ERROR. SUCCESS
 * when no call failed yet. Threads: each has its own. */
inline status_t last_status() { return hmc_detail::failure_status(); }

} // namespace v0
} // namespace hmc
#endif
