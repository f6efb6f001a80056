"""What the tests of the tools share: running a program in an environment of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest


class ProgramTest(unittest.TestCase):
    """Runs sys.argv's program with no HMC_* variable and an empty home."""

    program = None

    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="hmc-test-tools-")
        self.addCleanup(shutil.rmtree, self.home)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("HMC_")}
        self.environment["HOME"] = self.home

    def start(self, *arguments, **variables):
        process = subprocess.Popen([self.program, *arguments], env={**self.environment, **variables}, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        """So that a test that fails leaves nothing behind."""
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()

    def run_program(self, *arguments, expect=0, **variables):
        """Answers (stdout, stderr)."""
        with self.start(*arguments, **variables) as process:
            try:
                out, err = process.communicate(timeout=100)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                self.fail(f"no end: {out}{err}")
        self.assertEqual(process.returncode, expect, f"{arguments}:\n{out}{err}")
        return out, err

    def check_refusal(self, arguments, *texts):
        """A wrong command line: exit code 2, nothing on stdout, a text that helps."""
        out, err = self.run_program(*arguments, expect=2)
        self.assertEqual(out, "")
        for text in texts:
            self.assertIn(text, err)
        self.assertIn("--help", err)
        self.assertLessEqual(len(err.splitlines()), 2)

    def check_help(self, name):
        out, err = self.run_program("--help")
        self.assertIn("Usage: " + name, out)
        self.assertIn("Examples:", out)
        self.assertEqual(err, "")
        version, _ = self.run_program("--version")
        self.assertRegex(version, r"^\d+\.\d+\.\d+\n$")


def main(test):
    """Runs the tests of one class on the program that the first argument names."""
    test.program = sys.argv.pop(1)
    unittest.main(module="__main__", verbosity=1)
