// Starts `tl lsp` for the .tl files of the editor.
const { workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

function activate() {
  const command = workspace.getConfiguration("tensorlogic").get("path", "tl");
  client = new LanguageClient(
    "tensorlogic",
    "TensorLogic",
    { command, args: ["lsp"] },
    { documentSelector: [{ language: "tensorlogic" }] }
  );
  return client.start();
}

function deactivate() {
  return client && client.stop();
}

module.exports = { activate, deactivate };
