/* Visibility of the public symbols, and structs that know their size.
 *
 * A public struct that may get further fields begins with `size`, the bytes of it that the caller's headers know; its
 * _INIT macro sets that and zeroes the rest. New fields come at the end, and zero means what their
 * absence meant. A library that does not know a field that is set answers HMC_UNSUPPORT. */
#ifndef HMC_EXPORT_H
#define HMC_EXPORT_H

#if defined(__GNUC__)
#define HMC_API __attribute__((visibility("default")))
#else
#define HMC_API
#endif

/* Compilers warn where the status that such a function returns is not read. */
#if defined(__GNUC__)
#define HMC_CHECKED __attribute__((warn_unused_result))
#else
#define HMC_CHECKED
#endif

/* The same for the values of a type, in C++. A program that does not look at them may define it as nothing. */
#if defined(HMC_CHECKED_TYPE)
#elif defined(__cplusplus) && (__cplusplus >= 201703L || (defined(__GNUC__) && !defined(__clang__)))
#define HMC_CHECKED_TYPE [[nodiscard]]
#elif defined(__clang__)
#define HMC_CHECKED_TYPE __attribute__((warn_unused_result))
#else
#define HMC_CHECKED_TYPE
#endif

/* For the rare status that is of no use: HMC_IGNORE(hmc_peer_explain(...)). */
#define HMC_IGNORE(status) ((void)!(status))

/* What an _INIT macro stands for: a `type` with its size set and all else zero. */
#ifdef __cplusplus
template <typename Type> inline Type hmc_sized() {
  Type object = Type();
  object.size = sizeof(Type);
  return object;
}
#define HMC_SIZED_INIT(type) hmc_sized<type>()
#else
#define HMC_SIZED_INIT(type)                                                                                           \
  { .size = sizeof(type) }
#endif

#endif
