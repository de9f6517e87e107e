/** (a) The floor: express parses the same body and answers JSON of the same size. */
import express from "express";
import { forecast } from "../tools.ts";
import { listen } from "./subject.ts";

const app = express();
app.use(express.json());
app.post("/mcp", (req, res) => {
  const { id, params } = req.body;
  const content = [{ type: "text", text: forecast(params.arguments.city) }];
  res.json({ jsonrpc: "2.0", id, result: { content } });
});
listen(app);
