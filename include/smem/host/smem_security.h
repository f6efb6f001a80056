/* The first generation's way to set the store's TLS: a C++ struct. In C++ only. */
#ifndef SMEM_SECURITY_H
#define SMEM_SECURITY_H

#include "smem.h"

#ifdef __cplusplus
#include <set>
#include <string>

struct smem_tls_option {
  bool enableTls = false;
  std::string tlsTopPath; /* goes before the other paths */
  std::string tlsCert;
  std::string tlsCrlPath;
  std::string tlsCaPath;
  std::set<std::string> tlsCaFile;
  std::set<std::string> tlsCrlFile;
  std::string tlsPk; /* a file with the private key */
  std::string tlsPkPwd;
  std::string kmcKsfMaster;
  std::string kmcKsfStandby;
  std::string packagePath;
};

/* As smem_set_conf_store_tls, with the parts of the text as fields. Errors: -2000. */
static inline int32_t smem_set_ssl_option(const smem_tls_option *tlsOption) {
  if (tlsOption == nullptr) {
    return smem_set_conf_store_tls_files(true, nullptr, nullptr, nullptr);
  }
  const auto join = [](const std::set<std::string> &names) {
    std::string text;
    for (const std::string &name : names) {
      text += (text.empty() ? "" : ",") + name;
    }
    return text;
  };
  const std::string top = tlsOption->tlsTopPath.empty() ? "" : tlsOption->tlsTopPath + "/";
  const auto path = [&top](const std::string &name) { return name.empty() ? name : top + name; };
  std::string text = "tlsCert: " + path(tlsOption->tlsCert) + ";tlsCaPath: " + path(tlsOption->tlsCaPath) +
                     ";tlsCaFile: " + join(tlsOption->tlsCaFile) + ";";
  if (!tlsOption->tlsCrlFile.empty()) {
    text += "tlsCrlPath: " + path(tlsOption->tlsCrlPath) + ";tlsCrlFile: " + join(tlsOption->tlsCrlFile) + ";";
  }
  return smem_set_conf_store_tls_files(tlsOption->enableTls, text.c_str(), path(tlsOption->tlsPk).c_str(),
                                       tlsOption->tlsPkPwd.c_str());
}
#endif

#endif
