"""Faces of other transfer libraries, for programs that are written for those.

`hmc.compat.mooncake` is Mooncake's transfer engine, `hmc.compat.nixl` NIXL's agent. Beside them lie packages under those
libraries' own names; placed first on PYTHONPATH, programs find HMC where they look for them:

    PYTHONPATH=$(python -m hmc.compat nixl) program
    PYTHONPATH=$(python -m hmc.compat) program              # both

`hmc.compat.lmcache` is a transfer channel for LMCache. The backend "HMC" for NIXL's own wheel lies in this package too:

    NIXL_PLUGIN_DIR=$(python -m hmc.compat plugin) program  # in the place of the wheel's own backends
    python -m hmc.compat link                               # beside them: a link in the folder of the wheel
"""

import os

__all__ = ["folder", "link_plugin", "plugin_folder"]

_PLUGIN = "libplugin_HMC.so"

_NAMES = ("mooncake", "nixl")


def folder(*names):
    """What to place on PYTHONPATH, so that programs find those libraries ("mooncake", "nixl"; default: both) in HMC."""
    for name in names:
        if name not in _NAMES:
            raise ValueError("%r is not one of the libraries: %s are" % (name, " and ".join(_NAMES)))
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "path")
    return os.pathsep.join(os.path.join(here, name) for name in names or _NAMES)


def plugin_folder():
    """The folder with the plug-in for NIXL, for NIXL_PLUGIN_DIR."""
    found = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib", "hmc", "nixl")
    if not os.path.exists(os.path.join(found, _PLUGIN)):
        raise FileNotFoundError("this package was built without the plug-in for NIXL: %s has no %s" % (found, _PLUGIN))
    return found


def link_plugin():
    """Links the plug-in into the folders of plug-ins of the NIXL wheels of this interpreter; gives the links."""
    import glob
    import sysconfig

    folders = glob.glob(os.path.join(glob.escape(sysconfig.get_paths()["platlib"]), ".nixl*.mesonpy.libs", "plugins"))
    if not folders:
        raise FileNotFoundError("this interpreter has no wheel of NIXL: pip install nixl")
    target = os.path.join(plugin_folder(), _PLUGIN)
    links = []
    for each in sorted(folders):
        link = os.path.join(each, _PLUGIN)
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(target, link)
        links.append(link)
    return links
