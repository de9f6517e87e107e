/**
 * Inside an express application of your own, beside its other routes.
 *
 *   npm install mcp-oidc-proxy express zod
 *   node --env-file=.env express.mts                      # .env as in minimal.mts
 */
import express from "express";
import { createApp, defineTool, getAccessToken, loadConfig } from "mcp-oidc-proxy";

const config = loadConfig(process.env);
const mcp = await createApp(config, {
  tools: [
    defineTool({
      name: "whoami",
      description: "Who is signed in",
      run: () => getAccessToken().subject,
    }),
  ],
  scopes: {},
});

const app = express();
app.get("/prices", (_req, res) => void res.json({ coffee: 3 }));
app.use(mcp.handler); // last, and at the root: it answers every path, /.well-known/… among them

const server = app.listen(config.port, config.host, () => console.log(`Listening: ${config.resource}`));
process.once("SIGTERM", () => {
  mcp.stop(); // /readyz says no, connections end with their answer
  server.close(() => void mcp.close());
});
