"""A real IPython kernel, which is what a wheel task and a notebook run in."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass, field

from jupyter_client import KernelManager

from tests.patience import HANGS_AFTER_SECS


@dataclass
class Answer:
    """What one cell came to."""

    status: str = ""
    ename: str = ""
    evalue: str = ""
    text: str = ""
    displayed: list[dict[str, str]] = field(default_factory=list)


class Kernel:
    def __init__(self, folder, path: str, **env: str) -> None:
        import os

        self.manager = KernelManager(kernel_name="python3")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DATABRICKS", "PYTHON"))}
        mine = {"PYTHONPATH": path, "IPYTHONDIR": str(folder / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        self.manager.start_kernel(cwd=str(folder), env={**kept, **mine, **env})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=HANGS_AFTER_SECS)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def start(self, code: str) -> str:
        return self.client.execute(code)

    def finish(self, cell: str, *, on_text=lambda _text: None) -> Answer:
        """Follow a cell to its end. `on_text` hears what has been printed so far, and is called again and again."""
        answer, deadline = Answer(), time.monotonic() + HANGS_AFTER_SECS
        idle = False
        while not (idle and answer.status):
            assert time.monotonic() < deadline, answer
            on_text(answer.text)
            try:
                message = self.client.get_iopub_msg(timeout=0.05)
            except queue.Empty:
                message = None
            if message is not None and message["parent_header"].get("msg_id") == cell:
                idle = self._take(message, answer) or idle
            if idle:
                reply = self.client.get_shell_msg(timeout=HANGS_AFTER_SECS)
                if reply["parent_header"].get("msg_id") == cell:
                    content = reply["content"]
                    answer.status = content["status"]
                    answer.ename, answer.evalue = content.get("ename", ""), content.get("evalue", "")
        return answer

    def run(self, code: str) -> Answer:
        return self.finish(self.start(code))

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    @staticmethod
    def _take(message, answer: Answer) -> bool:
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                answer.text += content["text"]
            case "execute_result" | "display_data":
                answer.displayed.append(content["data"])
            case "status":
                return content["execution_state"] == "idle"
        return False
