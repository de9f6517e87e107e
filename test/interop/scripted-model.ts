/**
 * A model for agents of the terminal, which call no tool without one: it asks for one tool, without arguments, and is content
 * with whatever that says. Speaks Anthropic's Messages API and OpenAI's Responses API, as far as the agents need them.
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";

export interface ScriptedModel {
  url: string;
  /** The tool that it asks for, under the name that the server gives it. */
  wants: string;
  /** What the last agent was told by the tool; undefined if it did not have that tool. */
  heard: string | undefined;
  close(): Promise<void>;
}

export async function startScriptedModel(): Promise<ScriptedModel> {
  const server: Server = createServer(async (req, res) => {
    // biome-ignore lint/suspicious/noExplicitAny: what the agents send is theirs, and most of it is not read
    const asked: any = await json(req).catch(() => undefined);
    const events = req.url?.startsWith("/v1/messages?")
      ? messages(asked, model)
      : req.url === "/v1/responses" && responses(asked, model);
    if (!events) return void res.writeHead(404).end();
    res.writeHead(200, { "content-type": "text/event-stream" });
    for (const event of events) res.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
    res.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const model: ScriptedModel = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    wants: "",
    heard: undefined,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return model;
}

type ServerEvent = { type: string } & Record<string, unknown>;

/** https://docs.claude.com/en/api/messages-streaming */
// biome-ignore lint/suspicious/noExplicitAny: see above
function messages({ model: name, messages, tools = [] }: any, model: ScriptedModel): ServerEvent[] {
  const blocks = messages.flatMap(({ content }: { content: unknown }) =>
    Array.isArray(content) ? content : [],
  );
  const result = blocks.find(({ type }: { type: string }) => type === "tool_result");
  const tool = tools.find((each: { name: string }) => each.name.endsWith(`__${model.wants}`));
  model.heard = textOf(result?.content);
  const calls = result === undefined && tool !== undefined;
  const [block, delta] = calls
    ? [
        { type: "tool_use", id: "toolu_1", name: tool.name, input: {} },
        { type: "input_json_delta", partial_json: "{}" },
      ]
    : [
        { type: "text", text: "" },
        { type: "text_delta", text: "Done." },
      ];
  const usage = { input_tokens: 1, output_tokens: 1 };
  const message = { id: "msg_1", type: "message", role: "assistant", model: name, content: [], usage };
  return [
    { type: "message_start", message: { ...message, stop_reason: null, stop_sequence: null } },
    { type: "content_block_start", index: 0, content_block: block },
    { type: "content_block_delta", index: 0, delta },
    { type: "content_block_stop", index: 0 },
    {
      type: "message_delta",
      delta: { stop_reason: calls ? "tool_use" : "end_turn", stop_sequence: null },
      usage,
    },
    { type: "message_stop" },
  ];
}

/** https://platform.openai.com/docs/api-reference/responses-streaming */
// biome-ignore lint/suspicious/noExplicitAny: see above
function responses({ input, tools = [] }: any, model: ScriptedModel): ServerEvent[] {
  const result = input.find(({ type }: { type: string }) => type === "function_call_output");
  // A server's tools stand in a namespace of its name.
  const space = tools.find((each: { tools?: Array<{ name: string }> }) =>
    each.tools?.some(({ name }) => name === model.wants),
  );
  model.heard = textOf(result?.output);
  const item =
    result === undefined && space !== undefined
      ? { type: "function_call", call_id: "1", namespace: space.name, name: model.wants, arguments: "{}" }
      : { type: "message", role: "assistant", id: "1", content: [{ type: "output_text", text: "Done." }] };
  const usage = { input_tokens: 1, output_tokens: 1, total_tokens: 2 };
  return [
    { type: "response.created", response: { id: "1" } },
    { type: "response.output_item.done", output_index: 0, item },
    { type: "response.completed", response: { id: "1", usage } },
  ];
}

function textOf(content: unknown): string | undefined {
  return content === undefined || typeof content === "string" ? content : JSON.stringify(content);
}
