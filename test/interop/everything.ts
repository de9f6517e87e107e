/**
 * What the official conformance suite expects a server to offer, by the names that it asks for. Declared as users of this
 * project declare theirs, so that the suite speaks with the same code as everybody's client.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { CallToolResult } from "@modelcontextprotocol/server";
import { z } from "zod";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import {
  acceptedContent,
  createMessage,
  elicit,
  inputRequired,
  inputResponse,
  listRoots,
} from "../../src/mcp/authoring/input-required.ts";

const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";
const image = { type: "image" as const, data: PNG, mimeType: "image/png" };
const text = (words: string) => ({ type: "text" as const, text: words });
const embedded = (uri: string, words: string) => ({
  type: "resource" as const,
  resource: { uri, mimeType: "text/plain", text: words },
});

const Name = z.object({ name: z.string() });
const Confirmation = z.object({ ok: z.boolean() });
const askName = (message = "What is your name?") => elicit({ message, requestedSchema: Name });
const askModel = (question: string) =>
  createMessage({ messages: [{ role: "user", content: text(question) }], maxTokens: 100 });

/** Tools that answer at once. */
const contentTools = Object.entries({
  test_simple_text: [text("This is a simple text response for testing.")],
  test_image_content: [image],
  test_audio_content: [{ type: "audio" as const, data: WAV, mimeType: "audio/wav" }],
  test_embedded_resource: [embedded("test://embedded-resource", "This is an embedded resource content.")],
  test_multiple_content_types: [
    text("Multiple content types test:"),
    image,
    embedded("test://mixed-content-resource", '{"test":"data","value":123}'),
  ],
} satisfies Record<string, CallToolResult["content"]>).map(([name, content]) =>
  defineTool({ name, description: `Answers with ${name.slice(5)}`, run: () => ({ content }) }),
);

const talkingTools = [
  ...["test_tool_with_logging", "test_logging_tool"].map((name) =>
    defineTool({
      name,
      description: "Tells what it does while it runs",
      async run(_input, { log }) {
        for (const line of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
          await log("info", line);
          await delay(50);
        }
        return "Logged";
      },
    }),
  ),
  defineTool({
    name: "test_tool_with_progress",
    description: "Tells how far it is",
    async run(_input, { progress }) {
      for (const done of [0, 50, 100]) {
        await progress(done, 100);
        await delay(50);
      }
      return "Done";
    },
  }),
  defineTool({
    name: "test_error_handling",
    description: "Always fails",
    run: () => ({ isError: true, content: [text("This tool intentionally returns an error for testing")] }),
  }),
];

/** Tools of the 2025 scenarios: the server asks while the call waits. */
const askingTools = [
  defineTool({
    name: "test_sampling",
    description: "Asks the client's model",
    input: z.object({ prompt: z.string() }),
    run({ prompt }, { inputResponses }) {
      const answered = inputResponse(inputResponses, "answer");
      if (answered.kind !== "sampling") return inputRequired({ inputRequests: { answer: askModel(prompt) } });
      return `LLM response: ${JSON.stringify(answered.result.content)}`;
    },
  }),
  defineTool({
    name: "test_elicitation",
    description: "Asks the person",
    input: z.object({ message: z.string() }),
    run({ message }, { inputResponses }) {
      const answered = inputResponse(inputResponses, "user");
      const requestedSchema = z.object({ username: z.string(), email: z.string() });
      if (answered.kind !== "elicit")
        return inputRequired({ inputRequests: { user: elicit({ message, requestedSchema }) } });
      return `User response: action=${answered.action}, content=${JSON.stringify(answered.content)}`;
    },
  }),
  elicitingTool("test_elicitation_sep1034_defaults", {
    name: { type: "string", default: "John Doe" },
    age: { type: "integer", default: 30 },
    score: { type: "number", default: 95.5 },
    status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
    verified: { type: "boolean", default: true },
  }),
  elicitingTool("test_elicitation_sep1330_enums", {
    untitledSingle: { type: "string", enum: ["option1", "option2", "option3"] },
    titledSingle: { type: "string", oneOf: titled("First Option", "Second Option", "Third Option") },
    legacyEnum: {
      type: "string",
      enum: ["opt1", "opt2", "opt3"],
      enumNames: ["Option One", "Option Two", "Option Three"],
    },
    untitledMulti: { type: "array", items: { type: "string", enum: ["option1", "option2", "option3"] } },
    titledMulti: { type: "array", items: { anyOf: titled("First Choice", "Second Choice", "Third Choice") } },
  }),
];

function titled(...titles: string[]) {
  return titles.map((title, index) => ({ const: `value${index + 1}`, title }));
}

type FormProperties = Exclude<
  Parameters<typeof elicit>[0]["requestedSchema"],
  { "~standard": unknown }
>["properties"];

function elicitingTool(name: string, properties: FormProperties) {
  return defineTool({
    name,
    description: "Asks the person with a form of its own",
    run(_input, { inputResponses }) {
      const answered = inputResponse(inputResponses, "form");
      const requestedSchema = { type: "object" as const, properties, required: [] };
      const form = elicit({ message: "Please fill in", requestedSchema });
      if (answered.kind !== "elicit") return inputRequired({ inputRequests: { form } });
      return `Elicitation completed: action=${answered.action}, content=${JSON.stringify(answered.content)}`;
    },
  });
}

/** Tools of the 2026-07-28 scenarios (multi round-trip requests). */
const roundTripTools = [
  ...["test_input_required_result_elicitation", "test_streaming_elicitation"].map((name) =>
    defineTool({
      name,
      description: "Asks for a name",
      run(_input, { inputResponses }) {
        const name = acceptedContent(inputResponses, "user_name", Name)?.name;
        if (name === undefined) return inputRequired({ inputRequests: { user_name: askName() } });
        return `Hello, ${name}!`;
      },
    }),
  ),
  defineTool({
    name: "test_input_required_result_sampling",
    description: "Asks the client's model for a capital",
    run(_input, { inputResponses }) {
      const answered = inputResponse(inputResponses, "capital_question");
      if (answered.kind === "sampling") return JSON.stringify(answered.result.content);
      return inputRequired({
        inputRequests: { capital_question: askModel("What is the capital of France?") },
      });
    },
  }),
  defineTool({
    name: "test_input_required_result_list_roots",
    description: "Asks for the client's folders",
    run(_input, { inputResponses }) {
      const answered = inputResponse(inputResponses, "client_roots");
      if (answered.kind === "roots") return answered.roots.map(({ uri }) => uri).join("\n");
      return inputRequired({ inputRequests: { client_roots: listRoots() } });
    },
  }),
  ...["test_input_required_result_request_state", "test_input_required_result_tampered_state"].map((name) =>
    defineTool({
      name,
      description: "Remembers in a state that it asked",
      run(_input, { inputResponses, state }) {
        const confirmed = acceptedContent(inputResponses, "confirm", Confirmation);
        if (confirmed !== undefined && state === "asked") return "state-ok";
        const confirm = elicit({ message: "Please confirm", requestedSchema: Confirmation });
        return inputRequired({ inputRequests: { confirm }, state: "asked" });
      },
    }),
  ),
  defineTool({
    name: "test_input_required_result_multiple_inputs",
    description: "Asks three things at once",
    run(_input, { inputResponses, state }) {
      const answers = ["user_name", "greeting", "client_roots"].map((key) =>
        inputResponse(inputResponses, key),
      );
      if (state === "asked" && answers.every(({ kind }) => kind !== "missing"))
        return JSON.stringify(answers);
      return inputRequired({
        inputRequests: {
          user_name: askName(),
          greeting: askModel("Generate a greeting"),
          client_roots: listRoots(),
        },
        state: "asked",
      });
    },
  }),
  defineTool({
    name: "test_input_required_result_multi_round",
    description: "Asks one thing after the other",
    run(_input, { inputResponses, state }) {
      const name = (state as { name?: string } | undefined)?.name;
      const color = acceptedContent(inputResponses, "step2", z.object({ color: z.string() }))?.color;
      if (name !== undefined && color !== undefined) return `${name} likes ${color}`;
      const answered = acceptedContent(inputResponses, "step1", Name)?.name;
      if (answered === undefined)
        return inputRequired({
          inputRequests: { step1: askName("Step 1: What is your name?") },
          state: {},
        });
      const requestedSchema = z.object({ color: z.string() });
      const step2 = elicit({
        message: "Step 2: What is your favorite color?",
        requestedSchema,
      });
      return inputRequired({ inputRequests: { step2 }, state: { name: answered } });
    },
  }),
  defineTool({
    name: "test_input_required_result_capabilities",
    description: "Asks only what the client can answer",
    run(_input, { clientCapabilities: { elicitation, sampling } }) {
      return inputRequired({
        inputRequests: {
          ...(sampling && { model: askModel("Hello?") }),
          ...(elicitation && { person: askName() }),
        },
      });
    },
  }),
  defineTool({
    name: "test_missing_capability",
    description: "Asks the client's model, whatever the client can",
    run: () => inputRequired({ inputRequests: { model: askModel("Hello?") } }),
  }),
];

const headerTool = defineTool({
  name: "test_custom_headers",
  description: "Has arguments that are repeated in headers",
  input: z.object({
    region: z.string().meta({ "x-mcp-header": "Region" }),
    count: z.int().meta({ "x-mcp-header": "Count" }).optional(),
  }),
  run: ({ region }) => `Hello from ${region}`,
});

export const tools = [headerTool, ...contentTools, ...talkingTools, ...askingTools, ...roundTripTools];

export const resources = [
  defineResource({
    name: "static-text",
    uri: "test://static-text",
    description: "A text",
    read: () => "This is the content of the static text resource.",
  }),
  defineResource({
    name: "static-binary",
    uri: "test://static-binary",
    description: "An image",
    mimeType: "image/png",
    read: () => ({ contents: [{ uri: "test://static-binary", mimeType: "image/png", blob: PNG }] }),
  }),
  defineResource({
    name: "template",
    uriTemplate: "test://template/{id}/data",
    description: "A text for every id",
    mimeType: "application/json",
    read: ({ id }) => JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }),
  }),
];

export const prompts = [
  definePrompt({
    name: "test_simple_prompt",
    description: "Without arguments",
    run: () => "This is a simple prompt for testing.",
  }),
  definePrompt({
    name: "test_prompt_with_arguments",
    description: "With two arguments",
    args: z.object({ arg1: z.string(), arg2: z.string() }),
    complete: {
      arg1: (typed) => ["paris", "park", "party", "test"].filter((word) => word.startsWith(typed)),
    },
    run: ({ arg1, arg2 }) => `Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`,
  }),
  definePrompt({
    name: "test_prompt_with_embedded_resource",
    description: "With a resource in it",
    args: z.object({ resourceUri: z.string() }),
    run: ({ resourceUri }) => ({
      messages: [
        { role: "user", content: embedded(resourceUri, "Embedded resource content for testing.") },
        { role: "user", content: text("Please process the embedded resource above.") },
      ],
    }),
  }),
  definePrompt({
    name: "test_prompt_with_image",
    description: "With an image in it",
    run: () => ({
      messages: [
        { role: "user", content: image },
        { role: "user", content: text("Please analyze the image above.") },
      ],
    }),
  }),
  definePrompt({
    name: "test_input_required_result_prompt",
    description: "Asks before it answers",
    run(_args, { inputResponses }) {
      const Context = z.object({ context: z.string() });
      const given = acceptedContent(inputResponses, "user_context", Context);
      if (given !== undefined) return `Use this context: ${given.context}`;
      const message = "What context should the prompt use?";
      return inputRequired({
        inputRequests: { user_context: elicit({ message, requestedSchema: Context }) },
      });
    },
  }),
];
