"""hmc-info: what it shows, and that the JSON says the same."""

import json

from program import ProgramTest, main


class Info(ProgramTest):
    def test_help(self):
        self.check_help("hmc-info")

    def test_machine(self):
        out, _ = self.run_program()
        self.assertRegex(out, r"(?m)^  cpu +1 device$")
        self.assertRegex(out, r"(?m)^  sim +2 devices$")
        self.assertRegex(out, r"(?m)^  shm +yes")
        self.assertRegex(out, r"(?m)^  tcp +yes")
        for name in ("rdma", "ucx", "nvidia", "ascend"):
            self.assertRegex(out, rf"(?m)^  {name} +(yes|no: .{{10,}}|\d+ device)")

    def test_what_a_program_will_meet(self):
        out, _ = self.run_program()
        self.assertIn(f"\nSecret   {self.home}/.hmc/secret\n", out)
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        out, _ = self.run_program(HOME="/proc/nowhere", XDG_RUNTIME_DIR="")
        self.assertIn("\nSecret   no: ", out)
        self.assertIn("HMC_SECRET_FILE", out)

    def test_devices_follow_the_setting(self):
        out, _ = self.run_program(HMC_SIM_DEVICES="3")
        self.assertRegex(out, r"(?m)^  sim +3 devices$")

    def test_devices_and_links(self):
        out, _ = self.run_program()
        self.assertRegex(out, r"(?m)^  sim:1 +software accelerator, HMC$\n +ipc dmabuf peerable streams pinning batches$")
        self.assertRegex(out, r"(?m)^  sim:0 +sim:1 +direct$")
        said = json.loads(self.run_program("--json")[0])
        device = next(device for device in said["devices"] if device["memory"] == "sim:1")
        self.assertEqual((device["name"], device["pci"], device["numa_node"]), ("software accelerator", "", -1))
        self.assertIn({"from": "sim:0", "to": "sim:1", "link": "direct"}, said["links"])

    def test_config(self):
        out, _ = self.run_program("--config", HMC_TIMEOUT="5s")
        line = next(line for line in out.splitlines() if line.startswith("HMC_TIMEOUT"))
        self.assertIn("30s", line)
        self.assertIn("5s  (from the environment)", line)
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        column = out.splitlines()[0].index("kind") # the names fit into theirs
        for line in out.splitlines():
            if line.startswith("HMC_"):
                self.assertRegex(line[column - 1:], r"^ \S")

    def test_secret_is_not_shown(self):
        for form in ("--config", "--json"):
            out, _ = self.run_program(form, HMC_SECRET="wombat")
            self.assertIn("not shown", out)
            self.assertNotIn("wombat", out)

    def test_wrong_setting(self):
        out, err = self.run_program("--config", HMC_TIMEOUT="soon", expect=1)
        self.assertIn("HMC_TIMEOUT", err)
        self.assertIn("HMC_LOG", out)
        out, err = self.run_program(HMC_TIMEOUT="soon", expect=1)
        self.assertEqual(err.count("HMC_TIMEOUT=soon: takes a time"), 1)
        self.assertIn("Connection types", out)

    def test_mistyped_setting(self):
        _, err = self.run_program("--config", HMC_TIMOUT="5s", HMC_PIGEONS="2", HMC_LOG="none")
        self.assertIn("HMC_TIMOUT is not a setting; did you mean HMC_TIMEOUT?", err)
        self.assertIn("HMC_PIGEONS is not a setting; ", err)
        self.assertNotIn("HMC_LOG", err)
        for how in ([], ["--json"], ["--try", "auto"]):
            _, err = self.run_program(*how, HMC_TIMOUT="5s")
            self.assertIn("HMC_TIMOUT is not a setting", err, how)
        _, err = self.run_program("--config", HMC_TIMOUT="5s", HMC_SPIN="soon", expect=1)
        self.assertIn("HMC_TIMOUT is not a setting", err)
        self.assertNotIn("HMC_SPIN is set", err)

    def test_json(self):
        out, err = self.run_program("--json", HMC_TIMEOUT="5s")
        self.assertEqual(err, "")
        said = json.loads(out)
        self.assertEqual({memory["kind"] for memory in said["memories"]},
                         {"cpu", "nvidia", "amd", "mlu", "ascend", "moore", "sim"})
        for memory in said["memories"]:
            self.assertTrue(memory["devices"] > 0 or memory["reason"], memory)
        self.assertTrue({"shm", "tcp", "rdma", "ucx"} <= {entry["type"] for entry in said["connection_types"]})
        settings = {setting["name"]: setting for setting in said["settings"]}
        self.assertEqual(settings["HMC_TIMEOUT"]["value"], "5s")
        self.assertTrue(settings["HMC_TIMEOUT"]["is_set"])
        self.assertFalse(settings["HMC_LOG"]["is_set"])
        self.assertEqual(list(said), ["version", "default_memory", "memories", "connection_types", "devices", "links",
                                      "settings"])

    def test_try(self):
        out, _ = self.run_program("--try", "tcp")
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        out = " ".join(out.split())
        self.assertIn("is reached by tcp", out)
        self.assertIn("region 'tried'", out)
        out, _ = self.run_program("-t", "auto")
        self.assertIn("is reached by shm", " ".join(out.split()))
        _, err = self.run_program("--try", "tcp", "127.0.0.1:1", expect=1)
        self.assertIn("127.0.0.1:1", err)
        self.check_refusal(["--try", "tpc"], "--try 'tpc'")
        self.check_refusal(["--try", "tcp", "here"], "'here': HOST:PORT is expected")
        self.check_refusal(["--try", "tcp", "--json"], "neither --json nor --config")
        self.check_refusal(["--try"], "'--try'")

    def test_transports_left_out(self):
        said = json.loads(self.run_program("--json", HMC_TRANSPORTS="tcp,ucx")[0])["connection_types"]
        types = {entry["type"]: entry for entry in said}
        self.assertTrue(types["tcp"]["works"])
        self.assertFalse(types["shm"]["works"])
        self.assertIn("HMC_TRANSPORTS=tcp,ucx leaves it out", types["shm"]["reason"])
        said = json.loads(self.run_program("--json", HMC_TRANSPORTS="tpc")[0])["connection_types"]
        for entry in said:
            self.assertFalse(entry["works"])
            self.assertIn("'tpc' is none of", entry["reason"])

    def test_settings_of_ucx_pass_through(self):
        """HMC has a way of its own to connect, and leaves it for whatever the user says."""
        self.environment = {name: value for name, value in self.environment.items() if not name.startswith("UCX_")}
        types = json.loads(self.run_program("--json")[0])["connection_types"]
        works = next(entry["works"] for entry in types if entry["type"] == "ucx")
        for priority, expected in ((None, works), ("tcp", works), ("pigeon", False)):
            settings = {} if priority is None else {"UCX_SOCKADDR_TLS_PRIORITY": priority}
            out, err = self.run_program("--try", "ucx", expect=0 if expected else 1, HMC_LOG="none", **settings)
            self.assertIn("is reached by ucx" if expected else "ucx: ", " ".join((out if expected else err).split()))

    def test_mistyped(self):
        self.check_refusal(["--confg"], "unknown option '--confg'", "did you mean '--config'")
        self.check_refusal(["--json=3"], "'--json' takes no value")
        self.check_refusal(["-x"], "unknown option '-x'")
        self.check_refusal(["memories"], "what is 'memories'?")

    def test_output_lost(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            import subprocess
            done = subprocess.run([self.program], env=self.environment, stdout=full, stderr=subprocess.PIPE, text=True,
                                  check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("could not be written", done.stderr)


main(Info)
