//! The texts that `info` has for ends that are not SIP's, letter by letter as pages compare them.

use crate::field::words;

words! {
    /// CALL_STATUS_INFO (§4.1).
    pub enum CallStatusInfo {
        NormalCallClearing = "Normal call clearing",
        FailedBySessionCreation = "Failed by session creation",
        FailedByIceError = "Failed by ICE error",
        FailedByRtpActivity = "Failed by RTP activity",
        FailedByRtmpWriterError = "Failed by RTMP writer error",
        FailedByDtlsFingerprintError = "Failed by DTLS fingerprint error",
        NoCommonCodecs = "No common codecs",
        FailedByDtlsError = "Failed by DTLS error",
        FailedByError = "Failed by error",
        FailedByRequestTimeout = "Failed by request timeout",
        TranscodingRequiredButDisabled = "Transcoding required, but disabled",
    }
}

words! {
    /// STREAM_STATUS_INFO (§4.4).
    pub enum StreamStatusInfo {
        FailedByIceError = "Failed by ICE error",
        FailedByIceTimeout = "Failed by ICE timeout",
        FailedByKeepAlive = "Failed by ICE keep alive",
        FailedByDtlsFingerprintError = "Failed by DTLS fingerprint error",
        FailedByDtlsError = "Failed by DTLS error",
        FailedByHlsWriterError = "Failed by HLS writer error",
        FailedByRtmpWriterError = "Failed by RTMP writer error",
        FailedByRtpActivity = "Failed by RTP activity",
        StoppedBySessionDisconnect = "Stopped by session disconnect",
        StoppedByRestTerminate = "Stopped by rest /terminate",
        StoppedByPublisherStop = "Stopped by publisher stop",
        StoppedByUser = "Stopped by user",
        FailedByError = "Failed by error",
        FailedToAddStreamToProxy = "Failed to add stream to proxy",
        DistributorStopped = "Distributor stopped",
        PublishStreamIsNotReady = "Publish stream is not ready",
        StreamNotFound = "Stream not found",
        StreamNameAlreadyInUse = "Stream name is already in use",
        MediasessionIdNull = "MediaSessionId is null",
        MediasessionIdAlreadyInUse = "MediaSessionId is already in use",
        SessionNotReady = "Session not ready",
        SessionDoesNotExist = "Session does not exist",
        RtspHasWrongFormat = "Rtsp has wrong format",
        FileHasWrongFormat = "File has wrong format",
        FailedToConnectToRtspStream = "Failed to connect to rtsp stream",
        RtspStreamNotFound = "Rtsp stream not found",
        RtspagentShutdown = "RtspAgent shutdown",
        StreamFailed = "Stream failed",
        NoCommonCodecs = "No common codecs",
        BadUri = "Bad URI",
        GotExceptionWhileStreamingFile = "Got exception while streaming file",
        RequestedStreamShutdown = "Requested stream shutdown",
        FailedToReadFile = "Failed to read file",
        FileNotFound = "File not found",
        FailedToConnectToOriginStream = "Failed to connect to origin stream",
        CdnStreamNotFound = "CDN stream not found",
        FailedToGetAgentStorage = "Failed to get agent storage",
        AgentServicingOriginStreamIsShuttingDown = "Agent servicing origin stream is shutting down",
        TerminatedByKeepAlive = "Terminated by keep-alive",
        TranscodingRequiredButDisabled = "Transcoding required, but disabled",
        RestrictedAccess = "Restricted access",
        NoAvailableTranscoders = "No available transcoders",
    }
}

/// `info` of a call that SIP refused: `SIP 403 FORBIDDEN` (§4.1).
pub fn sip_failure(status: u16, reason: &str) -> String {
    format!("SIP {status} {}", reason.to_uppercase())
}
