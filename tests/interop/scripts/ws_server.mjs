// A little server of the handshake era, with Node's `ws`: `script plain|deflate`.
import { WebSocketServer } from "ws";

const isDeflated = process.argv[2] === "deflate";
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  // Context takeover is `ws`'s own choice unless the client asks for none, as ours does.
  perMessageDeflate: isDeflated && { threshold: 0 },
  handleProtocols: (offered) => (offered.has("mcp") ? "mcp" : false),
});
server.on("listening", () => console.error(`listening ${server.address().port}`));
server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => {
    const { id, method, params } = JSON.parse(data);
    const answer = (result) => socket.send(JSON.stringify({ jsonrpc: "2.0", id, result }));
    if (isBinary) socket.close(1003);
    else if (method === "initialize")
      answer({
        protocolVersion: params.protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: "ws", version: socket.extensions || "plain" },
      });
    else if (method === "tools/list") answer({ tools: [] });
    else if (method === "ping") answer({});
    else if (method === "tools/call" && params.name === "close") socket.close(4001, "as you wish");
    else if (method === "tools/call" && params.name === "binary") socket.send(Buffer.from("no text"));
    else if (method === "tools/call" && params.name === "pieces") {
      const text = JSON.stringify({ jsonrpc: "2.0", id, result: { content: [{ type: "text", text: "in pieces" }] } });
      socket.send(text.slice(0, 7), { fin: false });
      socket.ping("within");
      socket.send(text.slice(7), { fin: true });
    } else if (method === "tools/call") answer({ content: [{ type: "text", text: params.arguments.message }] });
    else if (id !== undefined)
      socket.send(JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32601, message: "Method not found" } }));
  });
});
