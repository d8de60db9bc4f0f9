//! The softphone page, served beside the WebSocket.

use signaling_server::websocket::Page;

pub const PAGES: &[Page] = &[
    Page {
        path: "/",
        content_type: "text/html; charset=utf-8",
        body: include_bytes!("../page/index.html"),
    },
    Page {
        path: "/style.css",
        content_type: "text/css; charset=utf-8",
        body: include_bytes!("../page/style.css"),
    },
    Page {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_bytes!("../page/app.js"),
    },
    Page {
        path: "/client.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_bytes!("../page/client.js"),
    },
];
