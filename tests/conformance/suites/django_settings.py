"""Settings of Django's test run, copied next to its output: imported there, not as part of this package."""

import json
import os
import unittest
from pathlib import Path

from django.test.runner import DiscoverRunner

try:
    import MySQLdb  # noqa: F401
except ImportError:
    import pymysql

    pymysql.install_as_MySQLdb()

_SERVER = {
    "ENGINE": "django.db.backends.mysql",
    "HOST": "127.0.0.1",
    "PORT": os.environ["DJANGO_PORT"],
    "USER": "tester",
    "PASSWORD": "tester",
}
DATABASES = {
    "default": {**_SERVER, "NAME": "django", "TEST": {"CHARSET": "utf8mb4"}},
    "other": {**_SERVER, "NAME": "django2", "TEST": {"CHARSET": "utf8mb4"}},
}
SECRET_KEY = "of no use to anybody"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False


class _Recorder(unittest.TextTestResult):
    """Notes what becomes of every test; a failed subtest fails its test."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.outcomes = {}

    def _note(self, test, outcome):
        self.outcomes.setdefault(test.id(), outcome)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._note(test, "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test, "failed")

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, "error")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._note(test, "skipped")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._note(test, "passed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._note(test, "failed")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, "failed")


class Runner(DiscoverRunner):
    """Writes the outcomes where DJANGO_OUTCOMES says."""

    def get_resultclass(self):
        return _Recorder

    def suite_result(self, suite, result, **options):
        Path(os.environ["DJANGO_OUTCOMES"]).write_text(json.dumps(result.outcomes))
        return super().suite_result(suite, result, **options)


TEST_RUNNER = "conformance_settings.Runner"
