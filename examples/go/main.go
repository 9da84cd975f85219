// Command reviewlens-client analyzes reviews with ReviewLens: a Go client to copy.
//
//	reviewlens-client < reviews.txt            # a review a line, in calls of as many as the server takes
//	reviewlens-client -stream < reviews.txt    # over one stream, each answer as soon as it is finished
//
// It prints one JSON object a review. The token, if the server wants one, is in REVIEWLENS_TOKEN; it goes over TLS
// only (-ca). Exit status: 0 all analyzed, 1 some failed, 2 the service refused or was not reached.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "reviewlens-client/reviewlens/v1"
)

const (
	firstBackoff   = 100 * time.Millisecond
	longestBackoff = 5 * time.Second
	// Answers repeat the reviews' texts, so they are larger than requests: gRPC's default of 4 MiB can be too little.
	maxAnswerBytes = 64 << 20
)

// bearerToken is sent with every call.
type bearerToken string

func (token bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

// RequireTransportSecurity keeps gRPC from sending the token over a connection that is not encrypted.
func (bearerToken) RequireTransportSecurity() bool { return true }

// connect makes a connection to the service. Keep one for the whole process: it reconnects by itself.
// Without caFile it is not encrypted, which is for a server on the same machine.
func connect(target, caFile, token string) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if caFile != "" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(caFile, ""); err != nil {
			return nil, err
		}
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
	}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearerToken(token)))
	}
	return grpc.NewClient(target, options...)
}

// retryDelay is how long to wait before a call is made again, and whether that can help at all.
//
// An overloaded or unready server says when to come back. UNAVAILABLE comes without a hint when nobody answered at all:
// then the wait doubles with every failure. The random part keeps many callers from coming back together.
func retryDelay(err error, failures int) (time.Duration, bool) {
	failed := status.Convert(err)
	if failed.Code() != codes.Unavailable && failed.Code() != codes.ResourceExhausted {
		return 0, false
	}
	for _, detail := range failed.Details() {
		if hint, ok := detail.(*errdetails.RetryInfo); ok {
			return time.Duration(float64(hint.RetryDelay.AsDuration()) * (1 + rand.Float64()/2)), true
		}
	}
	if failed.Code() == codes.ResourceExhausted {
		return 0, false // without a hint it is the message that is too large
	}
	backoff := min(firstBackoff<<min(failures, 10), longestBackoff)
	return time.Duration(float64(backoff) * (0.5 + rand.Float64()/2)), true
}

// withRetries makes a call until it succeeds, fails for good, or the context's deadline leaves no time to wait.
func withRetries[Response any](ctx context.Context, call func(context.Context) (Response, error)) (Response, error) {
	for failures := 0; ; failures++ {
		response, err := call(ctx)
		if err == nil {
			return response, nil
		}
		delay, retry := retryDelay(err, failures)
		if deadline, bounded := ctx.Deadline(); !retry || bounded && time.Now().Add(delay).After(deadline) {
			return response, err
		}
		time.Sleep(delay)
	}
}

// analyze sends the reviews in calls of as many as the server takes, and gives each analysis to report, in order.
func analyze(
	client pb.ReviewAnalysisServiceClient, reviews *source, timeout time.Duration, report func(*pb.ReviewAnalysis),
) error {
	call := func(group []*pb.Review) error {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		response, err := withRetries(ctx, func(ctx context.Context) (*pb.AnalyzeResponse, error) {
			return client.Analyze(ctx, &pb.AnalyzeRequest{Reviews: group})
		})
		for _, analysis := range response.GetAnalyses() {
			report(analysis)
		}
		return err
	}

	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	info, err := withRetries(ctx, func(ctx context.Context) (*pb.GetInfoResponse, error) {
		return client.GetInfo(ctx, &pb.GetInfoRequest{})
	})
	if err != nil {
		return err
	}
	maxReviews, maxBytes := int(info.Limits.MaxReviews), int(info.Limits.MaxMessageBytes)-4096 // room for options
	var group []*pb.Review
	size := 0
	for review := reviews.next(); review != nil; review = reviews.next() {
		more := proto.Size(review) + 8 // 8: tag and length in the request
		if len(group) > 0 && (len(group) == maxReviews || size+more > maxBytes) {
			if err := call(group); err != nil {
				return err
			}
			group, size = nil, 0
		}
		group, size = append(group, review), size+more
	}
	if len(group) > 0 {
		return call(group)
	}
	return nil
}

// analyzeStream sends the reviews over a stream and gives each analysis to report as soon as it is finished; ids must be
// unique. When the stream breaks, reviews without an answer go over the next one: an analysis changes nothing, so that
// is safe. It gives up when the service refuses, or answers nothing for longer than patience.
func analyzeStream(
	client pb.ReviewAnalysisServiceClient, reviews *source, patience time.Duration, report func(*pb.ReviewAnalysis),
) error {
	var unanswered sync.Map // of reviews, by id
	failures, lastAnswer := 0, time.Now()
	for {
		err := oneStream(client, reviews, &unanswered, patience, func(analysis *pb.ReviewAnalysis) {
			failures, lastAnswer = 0, time.Now()
			report(analysis)
		})
		if err == nil {
			return nil
		}
		delay, retry := retryDelay(err, failures)
		if !retry || time.Now().Add(delay).After(lastAnswer.Add(patience)) {
			return err
		}
		failures++
		time.Sleep(delay)
	}
}

// oneStream works until all reviews are answered, or the stream breaks.
func oneStream(
	client pb.ReviewAnalysisServiceClient, reviews *source, unanswered *sync.Map, patience time.Duration,
	report func(*pb.ReviewAnalysis),
) error {
	// No deadline: it would bound the whole stream, however many reviews there are. Patience bounds each wait.
	ctx, cancel := context.WithCancelCause(context.Background())
	stream, err := client.AnalyzeStream(ctx)
	if err != nil {
		cancel(nil)
		return err
	}
	sent := make(chan struct{})
	defer func() { cancel(nil); <-sent }()
	go func() {
		defer close(sent)
		send(stream, reviews, unanswered)
	}()

	impatience := status.Errorf(codes.DeadlineExceeded, "no answer for %s", patience)
	timer := time.AfterFunc(patience, func() { cancel(impatience) })
	defer timer.Stop()
	for {
		response, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(context.Cause(ctx), impatience):
			return impatience
		case err != nil:
			return err
		}
		timer.Reset(patience)
		unanswered.Delete(response.Analysis.Id)
		report(response.Analysis)
	}
}

// send sends what a broken stream left unanswered, then new reviews. Send waits while flow control holds us back, so
// reviews are read no faster than the server works. Where it fails, Recv tells why.
func send(stream pb.ReviewAnalysisService_AnalyzeStreamClient, reviews *source, unanswered *sync.Map) {
	open := true
	unanswered.Range(func(_, review any) bool {
		open = stream.Send(&pb.AnalyzeStreamRequest{Review: review.(*pb.Review)}) == nil
		return open
	})
	for open {
		review := reviews.next()
		if review == nil {
			_ = stream.CloseSend()
			return
		}
		unanswered.Store(review.Id, review)
		open = stream.Send(&pb.AnalyzeStreamRequest{Review: review}) == nil
	}
}

// source is reviews from lines, numbered from 1.
type source struct {
	lines  *bufio.Scanner
	number int
}

// next is the next review, nil after the last.
func (reviews *source) next() *pb.Review {
	if !reviews.lines.Scan() {
		return nil
	}
	reviews.number++
	return &pb.Review{Id: strconv.Itoa(reviews.number), Text: reviews.lines.Text()}
}

func main() {
	target := flag.String("target", "127.0.0.1:8500", "HOST:PORT")
	caFile := flag.String("ca", "", "PEM file of the server's authority; without it: no TLS")
	timeout := flag.Duration("timeout", 30*time.Second, "deadline of a call; of a stream: wait without any answer")
	stream := flag.Bool("stream", false, "one stream instead of calls")
	flag.Parse()

	connection, err := connect(*target, *caFile, os.Getenv("REVIEWLENS_TOKEN"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	defer connection.Close()
	reviews := &source{lines: bufio.NewScanner(os.Stdin)}
	reviews.lines.Buffer(nil, 1<<20)
	failed := 0
	report := func(analysis *pb.ReviewAnalysis) {
		if analysis.Error != nil {
			failed++
		}
		fmt.Println(protojson.MarshalOptions{UseProtoNames: true}.Format(analysis))
	}
	run := analyze
	if *stream {
		run = analyzeStream
	}
	err = run(pb.NewReviewAnalysisServiceClient(connection), reviews, *timeout, report)
	if err == nil {
		err = reviews.lines.Err()
	}
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %s\n", status.Code(err), status.Convert(err).Message())
		os.Exit(2)
	case failed > 0:
		os.Exit(1)
	}
}
