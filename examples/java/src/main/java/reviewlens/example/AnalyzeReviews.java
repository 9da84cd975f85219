package reviewlens.example;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.RetryInfo;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.function.Function;
import reviewlens.v1.AnalyzeRequest;
import reviewlens.v1.AnalyzeStreamRequest;
import reviewlens.v1.AnalyzeStreamResponse;
import reviewlens.v1.GetInfoRequest;
import reviewlens.v1.Limits;
import reviewlens.v1.Review;
import reviewlens.v1.ReviewAnalysis;
import reviewlens.v1.ReviewAnalysisServiceGrpc;
import reviewlens.v1.ReviewAnalysisServiceGrpc.ReviewAnalysisServiceBlockingStub;
import reviewlens.v1.ReviewAnalysisServiceGrpc.ReviewAnalysisServiceStub;

/**
 * Analyzes reviews with ReviewLens: a plain Java client to copy.
 *
 * <pre>
 * AnalyzeReviews [--stream] [--target HOST:PORT] [--ca FILE] &lt; reviews.txt     # a review a line
 * </pre>
 *
 * Prints one JSON object a review. The token, if the server wants one, is in REVIEWLENS_TOKEN; it goes over TLS only.
 * Exit status: 0 all analyzed, 1 some failed, 2 the service refused or was not reached.
 */
public final class AnalyzeReviews {
  private static final Duration FIRST_BACKOFF = Duration.ofMillis(100);
  private static final Duration LONGEST_BACKOFF = Duration.ofSeconds(5);
  /** Deadline of a call with all its attempts; of a stream, the wait without any answer. */
  private static final Duration PATIENCE = Duration.ofSeconds(30);
  /** Answers repeat the reviews' texts, so they are larger than requests: gRPC's 4 MiB can be too little. */
  private static final int MAX_ANSWER_BYTES = 64 << 20;

  private AnalyzeReviews() {}

  public static void main(String[] arguments) throws IOException, InterruptedException {
    String target = "127.0.0.1:8500";
    File authority = null;
    boolean stream = false;
    for (Iterator<String> rest = List.of(arguments).iterator(); rest.hasNext(); ) {
      switch (rest.next()) {
        case "--target" -> target = rest.next();
        case "--ca" -> authority = new File(rest.next());
        case "--stream" -> stream = true;
        default -> {
          System.err.println("usage: AnalyzeReviews [--stream] [--target HOST:PORT] [--ca FILE] < reviews.txt");
          System.exit(2);
        }
      }
    }
    var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)).lines();
    var number = new AtomicInteger();
    Iterator<Review> reviews =
        lines.map(line -> Review.newBuilder().setId("" + number.incrementAndGet()).setText(line).build()).iterator();
    var printer = JsonFormat.printer().preservingProtoFieldNames().omittingInsignificantWhitespace();
    var failed = new AtomicInteger();
    Consumer<ReviewAnalysis> report = analysis -> {
      if (analysis.hasError()) {
        failed.incrementAndGet();
      }
      try {
        out.println(printer.print(analysis));
      } catch (InvalidProtocolBufferException error) {
        throw new IllegalStateException(error); // only for messages with Any, which an analysis has not
      }
    };

    ManagedChannel channel = connect(target, authority, System.getenv("REVIEWLENS_TOKEN"));
    try {
      if (stream) {
        analyzeStream(ReviewAnalysisServiceGrpc.newStub(channel), reviews, report);
      } else {
        analyze(ReviewAnalysisServiceGrpc.newBlockingStub(channel), reviews, report);
      }
    } catch (StatusRuntimeException error) {
      System.err.println(error.getStatus().getCode() + ": " + error.getStatus().getDescription());
      System.exit(2);
    } finally {
      channel.shutdownNow();
    }
    System.exit(failed.get() == 0 ? 0 : 1);
  }

  /**
   * A channel to the service. Keep one for the whole process: it is safe for threads and reconnects by itself. Without
   * an authority it is not encrypted, which is for a server on the same machine.
   */
  static ManagedChannel connect(String target, File authority, String token) throws IOException {
    ChannelCredentials credentials = authority == null
        ? InsecureChannelCredentials.create()
        : TlsChannelCredentials.newBuilder().trustManager(authority).build();
    ManagedChannelBuilder<?> channel =
        Grpc.newChannelBuilder(target, credentials).maxInboundMessageSize(MAX_ANSWER_BYTES);
    if (token != null && !token.isEmpty()) {
      if (authority == null) {
        throw new IllegalArgumentException("a token is sent over TLS only: give the server's authority with --ca");
      }
      var headers = new Metadata();
      headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
      channel.intercept(MetadataUtils.newAttachHeadersInterceptor(headers));
    }
    return channel.build();
  }

  /**
   * Nanoseconds to wait before a call is made again; empty where that would not help.
   *
   * <p>An overloaded or unready server says when to come back. UNAVAILABLE comes without a hint when nobody answered at
   * all: then the wait doubles with every failure. The random part keeps many callers from coming back together.
   */
  static OptionalLong retryDelay(StatusRuntimeException error, int failures) {
    Status.Code code = error.getStatus().getCode();
    if (code != Status.Code.UNAVAILABLE && code != Status.Code.RESOURCE_EXHAUSTED) {
      return OptionalLong.empty();
    }
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    for (Any detail : status == null ? List.<Any>of() : status.getDetailsList()) {
      if (detail.is(RetryInfo.class)) {
        try {
          long hint = Durations.toNanos(detail.unpack(RetryInfo.class).getRetryDelay());
          return OptionalLong.of((long) (hint * ThreadLocalRandom.current().nextDouble(1, 1.5)));
        } catch (InvalidProtocolBufferException unreadable) {
          break; // as if there were no hint
        }
      }
    }
    if (code == Status.Code.RESOURCE_EXHAUSTED) {
      return OptionalLong.empty(); // without a hint it is the message that is too large
    }
    long backoff = Math.min(FIRST_BACKOFF.toNanos() << Math.min(failures, 10), LONGEST_BACKOFF.toNanos());
    return OptionalLong.of((long) (backoff * ThreadLocalRandom.current().nextDouble(0.5, 1)));
  }

  /** Makes a call until it succeeds, fails for good, or its deadline leaves no time to wait. */
  static <R> R withRetries(
      ReviewAnalysisServiceBlockingStub stub, Function<ReviewAnalysisServiceBlockingStub, R> call)
      throws InterruptedException {
    long end = System.nanoTime() + PATIENCE.toNanos();
    for (int failures = 0; ; failures++) {
      try {
        return call.apply(stub.withDeadlineAfter(end - System.nanoTime(), TimeUnit.NANOSECONDS));
      } catch (StatusRuntimeException error) {
        OptionalLong delay = retryDelay(error, failures);
        if (delay.isEmpty() || System.nanoTime() + delay.getAsLong() - end > 0) {
          throw error;
        }
        TimeUnit.NANOSECONDS.sleep(delay.getAsLong());
      }
    }
  }

  /** Sends the reviews in calls of as many as the server takes, and reports each analysis, in order. */
  static void analyze(
      ReviewAnalysisServiceBlockingStub stub, Iterator<Review> reviews, Consumer<ReviewAnalysis> report)
      throws InterruptedException {
    Limits limits = withRetries(stub, with -> with.getInfo(GetInfoRequest.getDefaultInstance())).getLimits();
    long most = limits.getMaxMessageBytes() - 4096; // the rest is for the options
    var group = new ArrayList<Review>();
    long bytes = 0;
    while (reviews.hasNext()) {
      Review review = reviews.next();
      int more = review.getSerializedSize() + 8; // 8: tag and length in the request
      if (!group.isEmpty() && (group.size() == limits.getMaxReviews() || bytes + more > most)) {
        analyzeGroup(stub, group, report);
        group.clear();
        bytes = 0;
      }
      group.add(review);
      bytes += more;
    }
    if (!group.isEmpty()) {
      analyzeGroup(stub, group, report);
    }
  }

  private static void analyzeGroup(
      ReviewAnalysisServiceBlockingStub stub, List<Review> group, Consumer<ReviewAnalysis> report)
      throws InterruptedException {
    AnalyzeRequest request = AnalyzeRequest.newBuilder().addAllReviews(group).build();
    withRetries(stub, with -> with.analyze(request)).getAnalysesList().forEach(report);
  }

  /**
   * Sends the reviews over a stream and reports each analysis as soon as it is finished; ids must be unique. When the
   * stream breaks, reviews without an answer go over the next one: an analysis changes nothing, so that is safe. Gives
   * up when the service refuses, or answers nothing for {@link #PATIENCE}.
   */
  static void analyzeStream(
      ReviewAnalysisServiceStub stub, Iterator<Review> reviews, Consumer<ReviewAnalysis> report)
      throws InterruptedException {
    Map<String, Review> unanswered = new ConcurrentHashMap<>();
    var lastAnswer = new AtomicLong(System.nanoTime());
    for (var failures = new AtomicInteger(); ; failures.incrementAndGet()) {
      var stream = new OneStream(reviews, unanswered, analysis -> {
        failures.set(0);
        lastAnswer.set(System.nanoTime());
        report.accept(analysis);
      });
      // No deadline: it would bound the whole stream, however many reviews there are. Patience bounds each wait.
      stub.analyzeStream(stream);
      try {
        stream.await(lastAnswer);
        return;
      } catch (StatusRuntimeException error) {
        OptionalLong delay = retryDelay(error, failures.get());
        if (delay.isEmpty() || System.nanoTime() + delay.getAsLong() - lastAnswer.get() > PATIENCE.toNanos()) {
          throw error;
        }
        TimeUnit.NANOSECONDS.sleep(delay.getAsLong());
      }
    }
  }

  /** Works until all reviews are answered, or the stream breaks. gRPC calls these methods one after another. */
  private static final class OneStream implements ClientResponseObserver<AnalyzeStreamRequest, AnalyzeStreamResponse> {
    private final Iterator<Review> again;
    private final Iterator<Review> reviews;
    private final Map<String, Review> unanswered;
    private final Consumer<ReviewAnalysis> report;
    private final CompletableFuture<Void> finished = new CompletableFuture<>();
    private ClientCallStreamObserver<AnalyzeStreamRequest> requests;
    private boolean sentAll;

    OneStream(Iterator<Review> reviews, Map<String, Review> unanswered, Consumer<ReviewAnalysis> report) {
      this.again = List.copyOf(unanswered.values()).iterator();
      this.reviews = reviews;
      this.unanswered = unanswered;
      this.report = report;
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<AnalyzeStreamRequest> requests) {
      this.requests = requests;
      requests.setOnReadyHandler(this::send);
    }

    /** Sends while flow control lets us, so reviews are read no faster than the server works. */
    private void send() {
      while (requests.isReady() && !sentAll) {
        Iterator<Review> source = again.hasNext() ? again : reviews;
        if (source.hasNext()) {
          Review review = source.next();
          unanswered.put(review.getId(), review);
          requests.onNext(AnalyzeStreamRequest.newBuilder().setReview(review).build());
        } else {
          sentAll = true;
          requests.onCompleted();
        }
      }
    }

    @Override
    public void onNext(AnalyzeStreamResponse response) {
      unanswered.remove(response.getAnalysis().getId());
      report.accept(response.getAnalysis());
    }

    @Override
    public void onError(Throwable error) {
      finished.completeExceptionally(error);
    }

    @Override
    public void onCompleted() {
      finished.complete(null);
    }

    /** Waits for the end of the stream; throws what it ended with. */
    void await(AtomicLong lastAnswer) throws InterruptedException {
      while (true) {
        long patience = lastAnswer.get() + PATIENCE.toNanos() - System.nanoTime();
        try {
          finished.get(Math.max(patience, 0), TimeUnit.NANOSECONDS);
          return;
        } catch (ExecutionException error) {
          throw Status.fromThrowable(error.getCause()).asRuntimeException(Status.trailersFromThrowable(error.getCause()));
        } catch (TimeoutException error) {
          if (System.nanoTime() - lastAnswer.get() >= PATIENCE.toNanos()) {
            requests.cancel("no answer for " + PATIENCE.toSeconds() + " s", null);
            throw Status.DEADLINE_EXCEEDED.withDescription("no answer for " + PATIENCE.toSeconds() + " s")
                .asRuntimeException();
          }
        }
      }
    }
  }
}
