"""What all packages share: set-up, log, texts of errors, the store and its TLS."""

import ctypes
import pathlib
import sys

from ._library import DECRYPT, HERE, INVALID, LOGGER, last_error, lib, library_path, text

_kept = {}  # callbacks, for as long as the library may call them


def initialize(flags=0):
    """Reads the settings. Returns 0."""
    return lib.smem_init(flags)


def uninitialize():
    """Ends what initialize() began; the parts have calls of their own."""
    lib.smem_uninit()


def set_log_level(level):
    """0 debug, 1 info, 2 warning, 3 error. -2000: another value."""
    return lib.smem_set_log_level(level)


def set_extern_logger(log_fn):
    """Sends log lines to log_fn(level, text), from threads of the library too."""
    if not callable(log_fn):
        raise RuntimeError("the logger is not callable")
    callback = LOGGER(lambda level, line: log_fn(level, line.decode(errors="replace")))
    code = lib.smem_set_extern_logger(callback)
    if code != 0:
        raise RuntimeError(last_error())
    _kept["logger"] = callback
    return code


def get_last_err_msg():
    """The text of this thread's last call that failed, or ""."""
    return last_error()


def get_and_clear_last_err_msg():
    return lib.smem_get_and_clear_last_err_msg().decode(errors="replace")


def create_config_store(store_url):
    """Serves the store of that URL in this process, until it ends. 0, -2000 (the URL), -1 (it cannot listen there)."""
    return lib.smem_create_config_store(text(store_url))


def set_conf_store_tls(enable, tls_info=""):
    """The store's TLS by certificates: "key: value;" pairs, as smem.h has them. Without this, by the job's secret."""
    info = text(tls_info)
    return lib.smem_set_conf_store_tls(enable, info, len(info))


def set_conf_store_tls_key(tls_pk, tls_pk_pw, py_decrypt_func=None):
    """The private key as PEM text, and its password, which py_decrypt_func(cipher text) turns into plain text. Where that
    raises, sys.excepthook shows it, and the call that wanted the key fails."""

    def decrypt(cipher, cipher_size, plain, plain_size):
        try:
            made = text(py_decrypt_func(ctypes.string_at(cipher, cipher_size).decode()))
            if len(made) > plain_size.contents.value:
                raise ValueError("a password of %d B: up to %d are taken" % (len(made), plain_size.contents.value))
            ctypes.memmove(plain, made, len(made))
        except Exception:  # nothing to raise it through: the call that wanted the key fails, and this says why
            sys.excepthook(*sys.exc_info())
            return -1
        plain_size.contents.value = len(made)
        return 0

    callback = DECRYPT(decrypt) if py_decrypt_func is not None else DECRYPT()
    key, password = text(tls_pk), text(tls_pk_pw)
    code = lib.smem_set_config_store_tls_key(key, len(key), password, len(password), callback)
    if code == 0:
        _kept["decrypt"] = callback
    return code


def set_tls_option(option):
    """The TLS of the first generation, as an object with its fields."""
    if option is None:
        return INVALID
    top = option.tls_top_path + "/" if option.tls_top_path else ""

    def path(name):
        return top + name if name else ""

    info = "tlsCert: %s;tlsCaPath: %s;tlsCaFile: %s;" % (path(option.tls_cert), top + option.tls_ca_path,
                                                        ",".join(sorted(option.tls_ca_file)))
    if option.tls_crl_file:
        info += "tlsCrlPath: %s;tlsCrlFile: %s;" % (top + option.tls_crl_path, ",".join(sorted(option.tls_crl_file)))
    return lib.smem_set_conf_store_tls_files(option.enable_tls, text(info), text(path(option.tls_pk)),
                                             text(option.tls_pk_pwd))


def get_include_path():
    """The folder with smem/host and smem/device, for C programs."""
    beside = HERE / "include"
    tree = pathlib.Path(__file__).resolve().parents[2] / "include"
    return str(beside if beside.is_dir() else tree)


def get_lib_path():
    """The folder with libmf_smem.so.1."""
    return str(pathlib.Path(library_path).parent)
