"""Prints what to place on PYTHONPATH, for all libraries or for those that are named.

    python -m hmc.compat [mooncake | nixl]...
    python -m hmc.compat plugin     what NIXL_PLUGIN_DIR is to be, for NIXL's own wheel
    python -m hmc.compat link       puts a link to the plug-in beside that wheel's own ones, and prints it
"""

import sys

from . import folder, link_plugin, plugin_folder

try:
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__.strip())
    elif sys.argv[1:] == ["plugin"]:
        print(plugin_folder())
    elif sys.argv[1:] == ["link"]:
        print("\n".join(link_plugin()))
    else:
        print(folder(*sys.argv[1:]))
except ValueError as error:
    print("hmc.compat: %s; plugin and link are words of their own\n`python -m hmc.compat --help` says what each does." % error,
          file=sys.stderr)
    sys.exit(2)
except OSError as error:
    sys.exit("hmc.compat: %s" % error)
