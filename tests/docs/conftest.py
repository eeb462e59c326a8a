"""The marker of tests that take long, for the tests of this folder alone."""


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long")
