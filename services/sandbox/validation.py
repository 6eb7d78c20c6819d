"""Bodies checked against their models; the first problem becomes the provider's PARAM_ERROR."""

from typing import TypeVar

import pydantic

from services.sandbox.gate import Failing

Model = TypeVar("Model", bound=pydantic.BaseModel)


def parse(model: type[Model], body: bytes, *, code: str = "PARAM_ERROR") -> Model:
    """The checked body. Raises Failing(400) that names the field and says what is wrong."""
    try:
        return model.model_validate_json(body)
    except pydantic.ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = "/" + "/".join(str(part) for part in problem["loc"])
        raise bad_param(field, problem["msg"], code=code) from error


def bad_param(
    field: str, issue: str, *, location: str = "body", code: str = "PARAM_ERROR"
) -> Failing:
    """The refusal of one field."""
    detail = {"field": field, "issue": issue, "location": location}
    return Failing(400, code, f"{field}: {issue}", detail)
