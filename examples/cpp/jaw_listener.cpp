// Prints the jaw's opening of each frame on `blendshapes`: a subscriber in C++ that needs the messages alone.

#include <algorithm>
#include <functional>
#include <memory>

#include "emotalk_ros/msg/blendshape_coefficients.hpp"
#include "rclcpp/rclcpp.hpp"

using Face = emotalk_ros::msg::BlendshapeCoefficients;

class JawListener : public rclcpp::Node
{
public:
  JawListener() : Node("jaw_listener")
  {
    subscription_ = create_subscription<Face>(
      "blendshapes", rclcpp::QoS(100), std::bind(&JawListener::on_face, this, std::placeholders::_1));
  }

private:
  void on_face(const Face & face)
  {
    // Lips are closed when mouthClose is about equal to jawOpen.
    const float opening =
      std::max(0.0f, face.coefficients[Face::JAW_OPEN] - face.coefficients[Face::MOUTH_CLOSE]);
    RCLCPP_INFO(get_logger(), "frame %lu: %.2f", static_cast<unsigned long>(face.frame), opening);
  }

  rclcpp::Subscription<Face>::SharedPtr subscription_;
};

int main(int argc, char ** argv)
{
  rclcpp::init(argc, argv);
  rclcpp::spin(std::make_shared<JawListener>());
  rclcpp::shutdown();
  return 0;
}
