"""What every test may ask for."""
import pytest
import torch


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def device(request) -> torch.device:
    """The devices of this machine, one after the other."""
    return torch.device(request.param)


@pytest.fixture
def one_thread():
    """For networks too small to share out among threads."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)
