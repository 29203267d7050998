"""A network as phones know it: away for stretches of time, and losing answers after the server has acted."""

import random

import httpx


class UnreliableNetwork(httpx.BaseTransport):
    """A transport that can be taken offline, and that loses some answers to POST requests once the server gave them."""

    def __init__(self, loss: float, random_state: random.Random, inner: httpx.BaseTransport | None = None) -> None:
        """
        Args:
            loss: probability that the answer to a POST request is lost on its way.
            random_state: decides which.
            inner: the real network.
        """
        self.online = True
        self.lost_answers = 0
        self._loss = loss
        self._random = random_state
        self._inner = inner or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """
        Raises:
            httpx.ConnectError: while offline; the server sees nothing of the request.
            httpx.ReadError: if the answer is lost; the server has acted on the request.
        """
        if not self.online:
            raise httpx.ConnectError("the device is offline", request=request)
        response = self._inner.handle_request(request)
        if request.method == "POST" and self._random.random() < self._loss:
            response.read()  # the server has answered, and so has committed
            response.close()
            self.lost_answers += 1
            raise httpx.ReadError("the answer was lost", request=request)
        return response

    def close(self) -> None:
        self._inner.close()
