"""/v1/usage."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from embedsvc.api.errors import documented
from embedsvc.api.schema import UsageReport, usage_report
from embedsvc.services.service import Service


@get("/v1/usage", operation_id="usage", tags=["service"], responses=documented())
async def usage(
    service: NamedDependency[Service], group_by: FromQuery[str] = "collection,model"
) -> UsageReport:
    """What was embedded and what it cost, summed by some of day, collection and model."""
    words = [word.strip() for word in group_by.split(",") if word.strip()]
    meter = service.embedders.meter
    return usage_report(await meter.report(words), meter.prices.date)


ROUTES = [usage]
