// Three ways in which Node applications read a path. Each says `protected` below its protected prefix, else `open`.
import http from "node:http";
import path from "node:path";

const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return "/";
  }
};

const servlet = (target) => {
  const plain = target.split(/[?#]/)[0].split("/").map((segment) => segment.split(";")[0]).join("/");
  return path.posix.normalize(decoded(plain));
};

const readings = {
  // What frameworks do that use the standard URL class: dots, backslashes and authorities are resolved.
  url: (target) => {
    try {
      return decoded(new URL(target, "http://localhost").pathname);
    } catch {
      return "/";
    }
  },
  // What servlet containers do: parameters are cut before anything is decoded.
  servlet,
  // The same on a system that makes no difference of capitals or of slashes, and drops dots and spaces at the end.
  windows: (target) => {
    const read = servlet(target.replaceAll("\\", "/")).replaceAll("\\", "/").toUpperCase();
    return read.replace(/::\$DATA/g, "").replace(/[. ]+(?=\/|$)/g, "").replace("/KIOSK", "/kiosk");
  },
};

process.argv.slice(2).forEach((argument) => {
  const [name, port] = argument.split(":");
  http
    .createServer((request, response) => {
      response.end(/^\/kiosk(\/|$)/.test(readings[name](request.url)) ? "protected" : "open");
    })
    .listen(Number(port), "127.0.0.1");
});
