"""LLM applications as users log them with MLflow. They say what they were told, word by word where they stream.

What the last message or `custom_inputs` say makes them fail, be slow, or say much.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import mlflow
from mlflow.pyfunc import ChatAgent, ChatModel, PythonModel, ResponsesAgent
from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse
from mlflow.types.llm import (
    ChatChoice,
    ChatChoiceDelta,
    ChatChunkChoice,
    ChatCompletionChunk,
    ChatCompletionResponse,
    ChatMessage,
)
from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent
from models import Logged, pins


def chat_agent(name: str) -> Logged:
    """Uses a tool where it is asked to. Its answer has what came with the question."""

    class Agent(ChatAgent):
        def _messages(self, messages, context, custom_inputs):
            said = messages[-1].content
            found = []
            if said == "use the tool":
                call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
                found.append(ChatAgentMessage(role="assistant", content="", id="m1", tool_calls=[call]))
                found.append(
                    ChatAgentMessage(role="tool", content="noon", id="m2", name="clock", tool_call_id="c1")
                )
            found.append(ChatAgentMessage(role="assistant", content=f"You said: {said}", id="m3"))
            return found

        def _outputs(self, context, custom_inputs):
            return {"inputs": custom_inputs, "conversation": context.conversation_id if context else None}

        def predict(self, messages, context=None, custom_inputs=None):
            if messages[-1].content == "fail at once":
                raise ValueError("it was told to")
            found = self._messages(messages, context, custom_inputs)
            return ChatAgentResponse(
                messages=found,
                custom_outputs=self._outputs(context, custom_inputs),
                usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            )

        def predict_stream(self, messages, context=None, custom_inputs=None):
            if messages[-1].content == "fail at once":
                raise ValueError("it was told to")
            *before, last = self._messages(messages, context, custom_inputs)
            for one in before:
                yield ChatAgentChunk(delta=one)
            for number, word in enumerate(last.content.split(" ")):
                if word == "break":
                    raise ValueError("it was told to")
                text = word if number == 0 else f" {word}"
                yield ChatAgentChunk(delta=ChatAgentMessage(role="assistant", content=text, id=last.id))
            yield ChatAgentChunk(
                delta=ChatAgentMessage(role="assistant", content="", id=last.id),
                custom_outputs=self._outputs(context, custom_inputs),
                usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            )

    return _log(name, Agent())


def responses_agent(name: str) -> Logged:
    class Agent(ResponsesAgent):
        def predict(self, request):
            items = [event.item for event in self.predict_stream(request) if event.type.endswith("item.done")]
            outputs = {"inputs": request.custom_inputs}
            if request.context is not None:
                outputs["conversation"] = request.context.conversation_id
            return ResponsesAgentResponse(output=items, custom_outputs=outputs)

        def predict_stream(self, request):
            said = request.input[-1].content
            if not isinstance(said, str):
                said = said[0]["text"]
            text = f"You said: {said}"
            for number, word in enumerate(text.split(" ")):
                if word == "break":
                    raise ValueError("it was told to")
                delta = word if number == 0 else f" {word}"
                yield ResponsesAgentStreamEvent(**self.create_text_delta(delta=delta, item_id="m1"))
            item = self.create_text_output_item(text=text, id="m1")
            yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)

    return _log(name, Agent())


def chat_model(name: str) -> Logged:
    """Of its parameters it has `max_tokens` words at most."""

    class Model(ChatModel):
        def _words(self, messages, params):
            return f"You said: {messages[-1].content}".split(" ")[: params.max_tokens]

        def predict(self, context, messages, params):
            text = " ".join(self._words(messages, params))
            return ChatCompletionResponse(choices=[ChatChoice(message=ChatMessage("assistant", text))])

        def predict_stream(self, context, messages, params):
            for number, word in enumerate(self._words(messages, params)):
                if word == "break":
                    raise ValueError("it was told to")
                delta = ChatChoiceDelta(role="assistant", content=word if number == 0 else f" {word}")
                yield ChatCompletionChunk(choices=[ChatChunkChoice(delta=delta)])

    return _log(name, Model())


def streamer(name: str) -> Logged:
    """A Python model without a signature, whose request says what it does.

    Of a request with a `tag` its log has a line at the beginning of the stream, and one at its end: how many objects
    it gave.
    """

    class Streamer(PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input if isinstance(model_input, dict) else "all of it"

        def predict_stream(self, context, model_input, params=None):
            import os
            import time

            wanted = model_input["messages"][-1]
            given = 0

            def note(line):
                if "tag" in wanted:
                    print(f"{wanted['tag']} {line}", flush=True)

            note("begun")
            try:
                for number in range(wanted.get("count", 3)):
                    time.sleep(wanted.get("pause", 0))
                    if wanted.get("stall_after") == number:
                        time.sleep(wanted["seconds"])
                    if wanted.get("die_after") == number:
                        os._exit(1)
                    if wanted.get("fail_after") == number:
                        raise ValueError("it was told to")
                    given += 1
                    yield {"number": number, "filler": "x" * wanted.get("size", 0)}
            finally:
                note(f"ended after {given}")

    return _log(name, Streamer())


def teller(name: str) -> Logged:
    """Like a chain that ends with a parser of texts: it answers bare text, and streams bare texts."""

    class Teller(PythonModel):
        def predict(self, context, model_input, params=None):
            return [f"You said: {model_input['messages'][-1]['content']}"]

        def predict_stream(self, context, model_input, params=None):
            yield "You said: "
            yield model_input["messages"][-1]["content"]

    return _log(name, Teller())


def cannot_stream(name: str) -> Logged:
    class Whole(PythonModel):
        def predict(self, context, model_input, params=None):
            return "all of it"

    return _log(name, Whole())


LLM_MODELS: dict[str, Callable[[str], Logged]] = {
    one.__name__: one for one in (chat_agent, responses_agent, chat_model, streamer, teller, cannot_stream)
}
"""For `models.MODELS`."""


def _log(name: str, model: Any) -> Logged:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = mlflow.pyfunc.log_model(
            name="model", python_model=model, registered_model_name=name, pip_requirements=pins("pydantic")
        )
    return Logged(info)
