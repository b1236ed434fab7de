"""The machine around a timing: that somebody else worked on it is noticed."""

import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from timing_factory import QUIET

from bench.machine import host
from bench.schema.timing import Moment
from bench.timing import environment
from bench.timing.environment import Ticks, busy_words, core_clocks, gpu_state, moment, others_share, ticks


def test_ticks_are_busy_without_idle_and_guests_are_not_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "stat"
    #                    user nice system idle iowait irq softirq steal guest guest_nice
    stat.write_text("cpu  100    0     50  800     50   0       0    10    70          0\ncpu0 1 2 3\n")
    monkeypatch.setattr(environment.os, "sysconf", lambda name: 10)
    found = ticks(stat)
    assert (found.busy, found.total) == (16.0, 101.0)


def test_without_proc_stat_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "odd").write_text("cpu 1 2 3\n")
    assert [ticks(tmp_path / name) for name in ("none", "odd")] == [None, None]


def test_the_share_of_others_is_what_the_cores_did_less_what_this_process_did() -> None:
    # ten seconds on two cores: 18 s busy, of which 15 are ours
    assert others_share(Ticks(100, 1000, 50), Ticks(118, 1020, 65)) == pytest.approx(3 / 20)
    assert others_share(Ticks(0, 0, 0), Ticks(5, 10, 6)) == 0.0  # ticks are coarse
    assert others_share(None, Ticks(1, 2, 0)) is None
    assert others_share(Ticks(1, 2, 0), Ticks(1, 2, 0)) is None


def test_a_busy_machine_is_noticed_by_what_others_took() -> None:
    assert busy_words(0.34, QUIET, cores=2) == "the machine was busy: others took 34% of it during the rounds"
    assert busy_words(0.04, Moment((9.0, 9.0, 9.0), None, None, None), cores=2) == ""  # it was over before the rounds


def test_where_that_is_not_known_the_load_before_tells() -> None:
    loads = (Moment((1.5, 0.0, 0.0), None, None, None), QUIET, Moment(None, None, None, None))
    busy, *quiet = (busy_words(None, load, cores=2) for load in loads)
    assert "load 1.5 on 2 cores" in busy and quiet == ["", ""]


def test_clocks_are_read_from_every_core(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\ncpu MHz\t\t: 2600.5\nprocessor : 1\ncpu MHz\t\t: 1200\n")
    assert core_clocks(info) == (2600.5, 1200.0)
    info.write_text("nothing")
    assert core_clocks(info) is None


def test_the_host_is_told_apart_and_not_named() -> None:
    assert len(host()) == 12 and host() == host()
    assert platform.node() == "" or platform.node() not in host()


def test_a_processor_has_no_gpu_state() -> None:
    assert gpu_state(torch.device("cpu")) is moment(torch.device("cpu")).gpu is None


class Driver:
    """What nvidia-ml-py offers."""

    class NVMLError(Exception):
        pass

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.open = fails, 0

    def nvmlInit(self) -> None:
        if self.fails:
            raise self.NVMLError
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> int:
        return {b"GPU-aa-11": 1, b"GPU-bb-22": 2}[uuid]

    def nvmlDeviceGetClockInfo(self, handle: int, which: int) -> int:
        return 1000 * handle + which

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 345_000

    def nvmlDeviceGetTemperature(self, handle: int, which: int) -> int:
        return 51


@pytest.fixture
def visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under CUDA_VISIBLE_DEVICES=1,0: this process counts GPUs the other way round than the driver."""
    uuids = {0: "bb-22", 1: "aa-11"}
    look = lambda device: SimpleNamespace(uuid=uuids[device.index or 0])  # noqa: E731
    monkeypatch.setattr(torch.cuda, "get_device_properties", look)


@pytest.mark.usefixtures("visible")
def test_a_gpu_tells_clocks_power_and_temperature_of_the_one_that_this_process_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert gpu_state(torch.device("cuda", 0)) == {
        "clock_mhz": 2001.0, "memory_clock_mhz": 2002.0, "power_w": 345.0, "temperature_c": 51.0,
    }  # fmt: skip
    assert gpu_state(torch.device("cuda", 1))["clock_mhz"] == 1001.0  # type: ignore[index]
    assert driver.open == 0


@pytest.mark.usefixtures("visible")
@pytest.mark.parametrize("driver", [Driver(fails=True), None])
def test_a_driver_that_does_not_answer_or_is_not_there_costs_nothing(
    driver: Driver | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert gpu_state(torch.device("cuda", 0)) is None
