"""Routes of the configuration in the REST API: the file, its versions, the check, forms, and the setup."""

from __future__ import annotations

from typing import Any

import msgspec

from controller.access.permissions import AccessPermission, Resource, Verb
from controller.web.api_route import ApiCall, ApiRoute
from controller.web.http_messages import read_body
from controller.web.setup_interface import (
    FieldForms,
    FieldRequest,
    FieldReview,
    MeterSearch,
    SearchRequest,
    SetupProgress,
    SetupRequest,
    SetupResult,
)
from controller.web.site_interface import (
    CheckFinding,
    ConfigurationText,
    ConfigurationVersion,
    SiteInterface,
)

_READ = AccessPermission(Resource.CONFIGURATION, Verb.READ)
_EDIT = AccessPermission(Resource.CONFIGURATION, Verb.EDIT)


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration to check."""

    text: str


class ConfigurationRoutes:
    """Routes of the configuration."""

    def __init__(self, site: SiteInterface) -> None:
        self._site = site

    def make_routes(self) -> tuple[ApiRoute, ...]:
        """Return the routes."""
        return (*self._file_routes(), *self._change_routes())

    def _file_routes(self) -> tuple[ApiRoute, ...]:
        def route(path: str, text: str, handler: Any, result: Any, body: Any = None) -> ApiRoute:
            method = "GET" if body is None else "POST"
            return ApiRoute(
                method=method,
                path=path,
                text=text,
                permission=_READ,
                handler=handler,
                result=result,
                body=body,
            )

        return (
            route("/configuration", "Configuration file", self._configuration, ConfigurationText),
            route(
                "/configuration/versions",
                "Stored versions of the file, the newest first",
                self._versions,
                list[ConfigurationVersion],
            ),
            route(
                "/configuration/versions/{version}", "One stored version", self._version, ConfigurationText
            ),
            route(
                "/configuration/check",
                "What the check finds in a text",
                self._check,
                list[CheckFinding],
                CheckRequest,
            ),
            route(
                "/configuration/fields",
                "Forms of the keys that installers change",
                self._fields,
                FieldForms,
            ),
        )

    def _change_routes(self) -> tuple[ApiRoute, ...]:
        return tuple(
            ApiRoute(
                method="POST",
                path=path,
                text=text,
                permission=_EDIT,
                handler=handler,
                result=result,
                body=body,
            )
            for path, text, handler, body, result in (
                (
                    "/configuration/fields",
                    "The file with some keys changed; nothing is written",
                    self._review_fields,
                    FieldRequest,
                    FieldReview,
                ),
                (
                    "/setup/next",
                    "The next questions of the setup, or its review",
                    self._advance_setup,
                    SetupRequest,
                    SetupProgress,
                ),
                (
                    "/setup/search",
                    "Begin to search for a meter",
                    self._search_meter,
                    SearchRequest,
                    MeterSearch,
                ),
                (
                    "/setup/write",
                    "Write the configuration that the answers of the setup make",
                    self._write_setup,
                    SetupRequest,
                    SetupResult,
                ),
            )
        )

    async def _configuration(self, _: ApiCall) -> object:
        return await self._site.configuration()

    async def _versions(self, _: ApiCall) -> object:
        return await self._site.configuration_versions()

    async def _version(self, call: ApiCall) -> object:
        return await self._site.configuration_version(call.values["version"])

    async def _check(self, call: ApiCall) -> object:
        return await self._site.check_configuration(read_body(call.request, CheckRequest).text)

    async def _fields(self, _: ApiCall) -> object:
        return await self._site.setup.read_fields()

    async def _review_fields(self, call: ApiCall) -> object:
        return await self._site.setup.review_fields(read_body(call.request, FieldRequest))

    async def _advance_setup(self, call: ApiCall) -> object:
        return await self._site.setup.advance_setup(read_body(call.request, SetupRequest))

    async def _search_meter(self, call: ApiCall) -> object:
        return await self._site.setup.search_meter(read_body(call.request, SearchRequest))

    async def _write_setup(self, call: ApiCall) -> object:
        return await self._site.setup.write_setup(read_body(call.request, SetupRequest), call.actor)
