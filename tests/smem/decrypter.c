/* A library with a decrypt handler, as smem_tls_config's decrypterLibPath names one: the cipher text backwards. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

__attribute__((visibility("default"))) int DecryptPassword(const char *cipherText, size_t cipherTextLen,
                                                           char *plainText, int32_t plainTextLen);

int DecryptPassword(const char *cipherText, size_t cipherTextLen, char *plainText, int32_t plainTextLen) {
  if (cipherTextLen >= (size_t)plainTextLen) {
    return -1;
  }
  for (size_t i = 0; i < cipherTextLen; i++) {
    plainText[i] = cipherText[cipherTextLen - 1 - i];
  }
  plainText[cipherTextLen] = '\0';
  return 0;
}
