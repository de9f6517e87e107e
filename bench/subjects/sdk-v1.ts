/** (c) The MCP SDK v1, stateless: a server and a transport per request, as its example does. */
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import express from "express";
import { z } from "zod";
import { forecast, toolNames } from "../tools.ts";
import { listen, settings } from "./subject.ts";

const { tools } = settings();
const app = express();
app.use(express.json());
app.post("/mcp", async (req, res) => {
  const server = new McpServer({ name: "bench", version: "1.0.0" });
  for (const name of toolNames(tools))
    server.registerTool(
      name,
      { description: "Weather for a city", inputSchema: { city: z.string().min(1) } },
      ({ city }) => ({
        content: [{ type: "text", text: forecast(city) }],
      }),
    );
  const transport = new StreamableHTTPServerTransport({});
  res.on("close", () => {
    void transport.close();
    void server.close();
  });
  await server.connect(transport);
  await transport.handleRequest(req, res, req.body);
});
listen(app);
