"""hmc-info: how far the RDMA adapters are from a device, on a machine that hwloc reads from a file.

usage: adapters.py HMC_INFO           (HMC_CUDA_LIBRARY names the look-alike, whose devices have PCI addresses)
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

INFO = sys.argv.pop(1)


class Topology:
    """Two packages with a NUMA node each, and what hangs on their root complexes, as hwloc's XML."""

    def __init__(self):
        self.identity = 0

    def element(self, kind, inner="", **attributes):
        self.identity += 1
        named = "".join(f' {name}="{value}"' for name, value in attributes.items())
        return f'<object type="{kind}" gp_index="{self.identity}"{named}>{inner}</object>\n'

    def place(self, kind, bits, inner="", **more):
        sets = {f"{prefix}{name}": hex(bits) for name in ("cpuset", "nodeset") for prefix in ("", "complete_")}
        return self.element(kind, inner, **sets, **more)

    def device(self, address, pci_class, inner=""):
        return self.element("PCIDev", inner, pci_busid=address, pci_type=f"{pci_class} [1234:5678] [1234:5678] 00",
                            pci_link_speed="0.000000")

    def adapter(self, address, name):
        return self.device(address, "0207", self.element("OSDev", name=name, osdev_type="3"))

    def complex(self, buses, inner):
        return self.element("Bridge", inner, bridge_type="0-1", depth="0", bridge_pci=f"0000:[{buses}]")

    def switch(self, address, buses, inner):
        return self.element("Bridge", inner, bridge_type="1-1", depth="1", bridge_pci=f"0000:[{buses}]",
                            pci_busid=address, pci_type="0604 [1234:5678] [0000:0000] 00", pci_link_speed="0.000000")

    def package(self, index, inner):
        bit = 1 << index
        own = (self.place("NUMANode", bit, os_index=index, local_memory=1 << 30) +
               self.place("Core", bit, self.place("PU", bit, os_index=index), os_index=index))
        return self.place("Package", bit, own + inner, os_index=index)

    def machine(self, inner):
        return ('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n'
                '<topology version="2.0">\n' +
                self.place("Machine", 3, inner, os_index=0, allowed_cpuset="0x3", allowed_nodeset="0x3") +
                "</topology>\n")


def machine_with(address):
    """The device behind a switch with one adapter, and others further and further away."""
    make = Topology()
    near = make.switch("0000:00:01.0", "01-fe", make.device(address, "0302") + make.adapter("0000:02:00.0", "near0"))
    first = (make.complex("00-fe", near + make.adapter("0000:00:02.0", "complex0")) +
             make.complex("ff-ff", make.adapter("0000:ff:00.0", "node0")))
    second = make.complex("00-10", make.switch("0001:00:01.0", "01-02", make.adapter("0001:01:00.0", "far0")))
    return make.machine(make.package(0, first) + make.package(1, second))


class Adapters(unittest.TestCase):
    def run_info(self, *arguments, topology=None):
        environment = dict(os.environ)
        environment.pop("HWLOC_XMLFILE", None)
        with tempfile.TemporaryDirectory(prefix="hmc-test-adapters-") as folder:
            if topology:
                environment["HWLOC_XMLFILE"] = os.path.join(folder, "topology.xml")
                with open(environment["HWLOC_XMLFILE"], "w", encoding="ascii") as file:
                    file.write(topology)
            done = subprocess.run([INFO, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=200, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def device(self, topology=None):
        said = json.loads(self.run_info("--json", topology=topology))
        return next(device for device in said["devices"] if device["memory"] == "nvidia:0")

    def test_distances(self):
        topology = machine_with(self.device()["pci"])
        device = self.device(topology)
        self.assertTrue(device["adapters_known"])
        self.assertEqual({each["name"]: each["distance"] for each in device["adapters"]},
                         {"near0": "switch", "complex0": "complex", "node0": "node", "far0": "system"})
        text = self.run_info(topology=topology)
        for line in ("adapter near0: switch", "adapter complex0: complex", "adapter node0: node", "adapter far0: system"):
            self.assertIn(f"\n             {line}\n", text)

    def test_names_and_links(self):
        said, text = json.loads(self.run_info("--json")), self.run_info()
        names = {device["memory"]: device["name"] for device in said["devices"]}
        self.assertEqual((names["nvidia:0"], names["amd:1"]), ("NVIDIA look-alike", "AMD look-alike"))
        links = text[text.index("\nLinks"):].split("\n\n")[0].splitlines()[2:]
        self.assertIn("  nvidia:0   nvidia:1   direct", links)
        # Pairs of different kinds are one line for people; programs get each.
        self.assertEqual([line for line in links if "nvidia" in line and "amd" in line], [])
        self.assertEqual(links[-1].split(), ["others", "system"])
        self.assertIn({"from": "nvidia:0", "to": "amd:0", "link": "system"}, said["links"])
        self.assertLessEqual(max(len(line) for line in text.split("\nSecret")[0].splitlines()), 80)

    def test_device_that_hwloc_does_not_show(self):
        device = self.device(machine_with("0007:77:00.0"))
        self.assertEqual((device["adapters"], device["adapters_known"]), ([], False))
        self.assertIn("\n             adapters: not known\n", self.run_info(topology=machine_with("0007:77:00.0")))

    def test_device_without_an_address(self):
        said = json.loads(self.run_info("--json"))
        sim = next(device for device in said["devices"] if device["memory"] == "sim:0")
        self.assertEqual((sim["adapters"], sim["adapters_known"]), ([], True))


unittest.main(verbosity=1)
