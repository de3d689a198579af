//! `InfoService`: the server describes itself.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};
use twn_protos::v1::{
    GetServerInfoRequest, GetServerInfoResponse, info_service_server::InfoService,
};
use twn_service::Engine;

use crate::{convert::info, rpc::host::Host};

/// Answers `InfoService`.
pub(crate) struct InfoRpc(pub(crate) Arc<Host>);

#[async_trait]
impl InfoService for InfoRpc {
    async fn get_server_info(
        &self,
        request: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        let (max_message_bytes, uptime) = (self.0.max_message_bytes(), self.0.uptime());
        let work = move |engine: Arc<Engine>, _, _, _| async move {
            Ok(info::response(engine.encoder(), engine.limits(), max_message_bytes, uptime))
        };
        self.0.answer(request, work).await
    }
}
