"""Errors of the services as problems that a client of the page or the API gets."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from controller.services import ServiceError
from controller.services.access.access_service import LoginRejectedError
from controller.services.access.command_service import (
    CommandContentError,
    CommandForbiddenError,
    TargetUnknownError,
)
from controller.web.http_messages import ProblemError
from drivers.coded_text import text_of

ResultT = TypeVar("ResultT")


async def await_or_problem(done: Awaitable[ResultT]) -> ResultT:
    """Await, and turn an error of a service into the problem that a client gets."""
    try:
        return await done
    except LoginRejectedError as error:
        if error.wait_s > 0:
            raise ProblemError(429, text_of(error), (("Retry-After", f"{error.wait_s:.0f}"),)) from error
        raise ProblemError(401, text_of(error)) from error
    except CommandForbiddenError as error:
        raise ProblemError(403, text_of(error)) from error
    except TargetUnknownError as error:
        raise ProblemError(404, text_of(error)) from error
    except CommandContentError as error:
        raise ProblemError(422, text_of(error)) from error
    except ServiceError as error:
        raise ProblemError(409, text_of(error)) from error
