/** (b) The MCP SDK v2 as its own example serves it, without authentication. */
import { toNodeHandler } from "@modelcontextprotocol/node";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import express from "express";
import { z } from "zod";
import { forecast, toolNames } from "../tools.ts";
import { listen, settings } from "./subject.ts";

const { tools } = settings();
const handler = toNodeHandler(
  createMcpHandler(
    () => {
      const server = new McpServer({ name: "bench", version: "1.0.0" });
      for (const name of toolNames(tools))
        server.registerTool(
          name,
          { description: "Weather for a city", inputSchema: z.object({ city: z.string().min(1) }) },
          ({ city }) => ({
            content: [{ type: "text", text: forecast(city) }],
          }),
        );
      return server;
    },
    { legacy: "stateless" },
  ),
);
const app = express();
app.use(express.json());
app.all("/mcp", (req, res) => void handler(req, res, req.body));
listen(app);
